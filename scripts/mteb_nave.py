"""Evaluates a model of a running server with mteb, over the part of the Nave data that `make evaluate` works on.

mteb's own client for OpenAI's protocol asks the server for embeddings; mteb compares them and measures. With the report of
`twofold evaluate` over the same data, both have to agree.

    python3 scripts/mteb_nave.py URL MODEL DATA-DIRECTORY [REPORT STAGE]
"""

import collections
import json
import pathlib
import sys

import mteb
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import OpenAIAPIEncodeWrapper
from mteb.types import PromptType

# Measures of mteb, and of `twofold evaluate`.
MEASURES = {"ndcg_at_10": "ndcg", "mrr_at_10": "mrr", "recall_at_10": "recall"}
# Equal scores may be in another order, and vectors are compared in other precision.
TOLERANCE = 0.005


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class ServedModel(OpenAIAPIEncodeWrapper):
    """mteb's client, which also says what is a query."""

    def encode(self, inputs, *, prompt_type=None, **options):
        self.input_type = "query" if prompt_type == PromptType.query else "document"
        return super().encode(inputs, prompt_type=prompt_type, **options)

    def _make_request(self, endpoint, payload):
        return super()._make_request(endpoint, {**payload, "input_type": self.input_type})


class NaveGospels(AbsTaskRetrieval):
    """Verses of the four Gospels that belong to subtopics of Nave's Topical Bible."""

    metadata = TaskMetadata(
        name="NaveGospels",
        description="Verses of the four Gospels (King James Version) that belong to subtopics of Nave's Topical Bible.",
        dataset={"path": "local/nave", "revision": "1"},
        type="Retrieval",
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    directory: pathlib.Path

    def load_data(self, num_proc=None, **kwargs):
        if self.data_loaded:
            return
        corpus = records(self.directory / "corpus.jsonl")
        queries = records(self.directory / "queries.jsonl")
        judged = collections.defaultdict(dict)
        for row in (self.directory / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, score = row.split("\t")
            judged[query][document] = int(score)
        split = {
            "corpus": Dataset.from_list([{"id": one["_id"], "title": "", "text": one["text"]} for one in corpus]),
            "queries": Dataset.from_list([{"id": one["_id"], "text": one["text"]} for one in queries]),
            "relevant_docs": dict(judged),
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def main():
    url, model, directory, *report = sys.argv[1:]
    NaveGospels.directory = pathlib.Path(directory)
    client = ServedModel(url, model, modalities=["text"], use_chat_template=False)
    result = mteb.evaluate(client, NaveGospels(), cache=None, co2_tracker=False, encode_kwargs={"batch_size": 64})
    scores = result.task_results[0].scores["test"][0]
    print(model, *(f"{measure} {scores[measure]:.4f}" for measure in MEASURES), sep="  ")
    if report:
        path, name = report
        stages = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["stages"]
        stage = next(stage for stage in stages if stage["name"] == name)
        for measure, ours in MEASURES.items():
            theirs, own = scores[measure], stage["metrics"][ours]
            assert abs(theirs - own) <= TOLERANCE, f"{measure}: {theirs} by mteb, {own} by twofold evaluate"
        print("twofold evaluate agrees")


if __name__ == "__main__":
    main()
