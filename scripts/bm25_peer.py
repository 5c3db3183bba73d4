"""BM25 of another implementation (bm25s) over the same tokens, and pytrec_eval's measures of Twofold's run files beside it.

The tokens are those of fastembed's Qdrant/bm25, which Twofold's equal (worker/encode/tests/fixtures/bm25_reference.json). bm25s
knows the mean length of all documents; Twofold is told it by `avg_len`.

    python scripts/bm25_peer.py DATA-DIRECTORY RUNS-DIRECTORY
    python scripts/bm25_peer.py DATA-DIRECTORY --mean-length
"""

import collections
import json
import pathlib
import sys
import tempfile

import bm25s
import numpy
import pytrec_eval
from fastembed.sparse.bm25 import Bm25

STOP_WORDS = pathlib.Path(__file__).resolve().parent.parent / "storage/types/src/language/stop_words/english.txt"
DEPTH = 100


def tokenizer():
    # fastembed would download its stop words.
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "english.txt").write_text(STOP_WORDS.read_text())
        (pathlib.Path(folder) / "config.json").write_text("{}")
        model = Bm25("Qdrant/bm25", specific_model_path=folder)
    return lambda text: model._stem(model.tokenizer.tokenize(text))


def texts(path):
    return {line["_id"]: line["text"] for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def run_of(path):
    run = collections.defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, _, score, _ = line.split()
        run[query][document] = float(score)
    return run


def measured(qrels, run):
    top = {query: dict(sorted(found.items(), key=lambda one: (one[1], one[0]), reverse=True)[:10]) for query, found in run.items()}
    names = {"ndcg_cut.10", "recall.10,100", "map"}
    found = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)
    # A query that finds nothing counts as 0.
    mean = lambda measures, name: sum(one[name] for one in measures.values()) / len(qrels)
    return [mean(found, "ndcg_cut_10"), mean(first, "recip_rank"), mean(found, "recall_10"), mean(found, "recall_100"), mean(found, "map")]


def main():
    data = pathlib.Path(sys.argv[1])
    tokens = tokenizer()
    corpus = {one: tokens(text) for one, text in texts(data / "corpus.jsonl").items()}
    if sys.argv[2] == "--mean-length":
        print(round(sum(map(len, corpus.values())) / len(corpus), 2))
        return
    qrels = collections.defaultdict(dict)
    for row in (data / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = row.split("\t")
        qrels[query][document] = int(grade)

    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    peer.index(list(corpus.values()), show_progress=False)
    ids, run = list(corpus), {}
    for query, text in texts(data / "queries.jsonl").items():
        # A query's words count once, as Twofold counts them.
        words = [word for word in dict.fromkeys(tokens(text)) if word in peer.vocab_dict]
        scores = peer.get_scores(words) if words else numpy.zeros(len(ids))
        best = sorted(((float(scores[place]), ids[place]) for place in numpy.flatnonzero(scores > 0)), reverse=True)[:DEPTH]
        run[query] = {document: score for score, document in best}
    print(f"{'pytrec_eval':<24}  nDCG@10   MRR@10  Recall@10  Recall@100      MAP")
    rows = [("bm25s", run)] + [(path.name, run_of(path)) for path in sorted(pathlib.Path(sys.argv[2]).glob("*.run"))]
    for name, found in rows:
        print(f"{name:<24} {' '.join(f'{value:9.4f}' for value in measured(qrels, found))}")


if __name__ == "__main__":
    main()
