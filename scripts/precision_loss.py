"""What bf16 and int8 lose beside f32: cosines over all texts of a corpus, and nDCG@10 of the retrieval with each.

usage: precision_loss.py EXAMPLES-DIRECTORY MODEL-DIRECTORY CORPUS QUERIES QRELS CACHE-DIRECTORY [OTHER-MODEL-DIRECTORY]
CORPUS and QUERIES are JSON lines with `_id` and `text`, QRELS lines of query, document and relevance, in BEIR's layout. Every
fifth query is asked. With OTHER-MODEL-DIRECTORY that model in f32 is compared in their place: the same weights, quantised.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np


def read(path):
    records = [json.loads(line) for line in path.open()]
    return [record["_id"] for record in records], [" ".join(record["text"].split()) for record in records]


def encode(examples, model, texts, precision, cache):
    lines, vectors = cache / "texts.txt", cache / "vectors.bin"
    lines.write_text("\n".join(texts) + "\n")
    subprocess.run([examples / "embed", model, lines, vectors, precision], check=True)
    with vectors.open("rb") as file:
        count, dimensions = np.fromfile(file, dtype="<u4", count=2)
        return np.fromfile(file, dtype="<f4").reshape(count, dimensions)


def ndcg(queries, documents, ids, judged, k=10):
    discounts = 1 / np.log2(np.arange(2, k + 2))
    scores = []
    for query, relevant in zip(queries, judged):
        similarity = documents @ query
        best = np.argpartition(-similarity, k)[:k]
        best = best[np.argsort(-similarity[best])]
        gains = np.array([2.0 ** relevant.get(ids[i], 0) - 1 for i in best])
        ideal = np.sort([2.0**grade - 1 for grade in relevant.values()])[::-1][:k]
        scores.append((gains * discounts).sum() / (ideal * discounts[: len(ideal)]).sum())
    return np.mean(scores)


def main():
    examples, model, corpus, queries, qrels, cache = map(Path, sys.argv[1:7])
    cache.mkdir(parents=True, exist_ok=True)
    judgements = {}
    for query, document, grade in csv.reader(qrels.open(), delimiter="\t"):
        if grade.isdigit() and int(grade) > 0:
            judgements.setdefault(query, {})[document] = int(grade)
    document_ids, documents = read(corpus)
    asked = [(name, text) for name, text in zip(*read(queries)) if name in judgements][::5]
    judged = [judgements[name] for name, _ in asked]
    modes = {"f32": (model, "f32"), "bf16": (model, "bf16"), "int8": (model, "int8")}
    if len(sys.argv) > 7:
        modes = {"f32": (model, "f32"), "other": (Path(sys.argv[7]), "f32")}
    vectors = {}
    for name, (directory, precision) in modes.items():
        vectors[name] = encode(examples, directory, documents + [text for _, text in asked], precision, cache)
        found = vectors[name]
        print(f"{name}: nDCG@10 {ndcg(found[len(documents):], found[: len(documents)], document_ids, judged):.4f}", flush=True)
    unit = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    for name in list(unit)[1:]:
        cosines = (unit["f32"] * unit[name]).sum(axis=1)
        low = np.quantile(cosines, [0.01, 0.001])
        print(
            f"{name}, {len(cosines):,} texts, cosine to f32: mean {cosines.mean():.5f}, 1 % below {low[0]:.5f}, "
            f"0.1 % below {low[1]:.5f}, least {cosines.min():.5f}"
        )


if __name__ == "__main__":
    main()
