"""Writes the part of the Nave data that `make evaluate` works on, in BEIR's layout.

The 3,779 verses of the four Gospels, and a sample of the queries whose judged verses all lie in it: their judgements are complete.

    python3 scripts/nave_subset.py NAVE-DIRECTORY OUT-DIRECTORY [QUERIES]
"""

import collections
import json
import pathlib
import random
import sys

BOOKS = {"Matt", "Mark", "Luke", "John"}


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def judgements(nave):
    """The header of the judgements, and their lines by query."""
    header, *rows = lines(nave / "qrels_subtopic.tsv")
    judged = collections.defaultdict(list)
    for row in rows:
        judged[row.split("\t")[0]].append(row)
    return header, judged


def inside(verse):
    return verse.split(".")[0] in BOOKS


def complete_queries(judged):
    """Those whose judged verses all lie in the Gospels: the only ones that are ever asked."""
    return [query for query, rows in judged.items() if all(inside(row.split("\t")[1]) for row in rows)]


def main():
    nave, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 500
    corpus = [line for line in lines(nave / "corpus_kjv.jsonl") if inside(json.loads(line)["_id"])]
    header, judged = judgements(nave)
    complete = complete_queries(judged)
    sample = set(random.Random(1).sample(complete, min(wanted, len(complete))))

    out.mkdir(parents=True, exist_ok=True)
    queries = [line for line in lines(nave / "queries_subtopic.jsonl") if json.loads(line)["_id"] in sample]
    qrels = [row for query in judged if query in sample for row in judged[query]]
    for name, content in [("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", [header, *qrels])]:
        (out / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    print(f"{len(corpus)} verses, {len(queries)} of {len(complete)} queries, {len(qrels)} judgements")


if __name__ == "__main__":
    main()
