"""Writes worker/tests/fixtures/trec_eval.json: a small run, judgements, and the measures that pytrec_eval gives them.

    pip install pytrec-eval-terrier==0.5.11
    python scripts/trec_eval_reference.py
"""

import json
import pathlib
import random

import pytrec_eval

OUT = pathlib.Path(__file__).resolve().parent.parent / "worker/tests/fixtures/trec_eval.json"
K, LIMIT = 5, 20


def best(run, count):
    """What trec_eval looks at first: by score, equal ones by descending id."""
    return {query: dict(sorted(found.items(), key=lambda one: (one[1], one[0]), reverse=True)[:count]) for query, found in run.items()}


def main():
    chance = random.Random(7)
    documents = [f"d{number}" for number in range(24)]
    # Few scores, so that many are equal, and grades below 0.
    run = {f"q{number}": {one: chance.randrange(6) / 4 for one in chance.sample(documents, 3 * number + 1)} for number in range(8)}
    qrels = {query: {one: chance.choice([-1, 0, 0, 1, 1, 2, 3]) for one in chance.sample(documents, 12)} for query in run}
    qrels["q2"] = {one: 0 for one in qrels["q2"]}
    run = best(run, LIMIT)
    names = {f"ndcg_cut.{K}", f"P.{K}", f"recall.{K},{LIMIT}", "map"}
    measures = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(best(run, K))
    reference = {
        query: {
            "ndcg": found[f"ndcg_cut_{K}"], "mrr": first[query]["recip_rank"], "precision": found[f"P_{K}"],
            "recall": found[f"recall_{K}"], "recall_at_limit": found[f"recall_{LIMIT}"], "map": found["map"],
        }
        for query, found in measures.items()
    }
    OUT.write_text(json.dumps({"k": K, "limit": LIMIT, "qrels": qrels, "run": run, "measures": reference}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
