"""Trains a model on a part of the Nave judgements, and writes it in a layout that Twofold loads. It is as well an example of how to
train models on judgements of your own.

`colbert` begins with all-MiniLM-L6-v2 and becomes `twofold/nave-colbert`, in the layout of colbert-ir/colbertv2.0. `cross-encoder` begins
with the network of that one, which teaches it too, and becomes `twofold/nave-cross-encoder`: BertForSequenceClassification with one label.

What `make evaluate` asks is held back: all queries whose judged verses all lie in the Gospels, and all others of the same topics.
Verses are not held back: those of the Gospels are judged for other topics too.

    pip install -r scripts/requirements-bench-encode.txt
    python scripts/nave_models.py colbert NAVE-DIRECTORY MODELS-DIRECTORY
    python scripts/nave_models.py cross-encoder NAVE-DIRECTORY MODELS-DIRECTORY

Queries of 40 more topics show, after every 50 steps, how far it has come. They have chosen rate, beginning and frozen layers of the
cross-encoder, and nothing of the ColBERT model.
"""

import collections
import json
import math
import pathlib
import random
import re
import shutil
import string
import sys
import time

import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from nave_subset import complete_queries, judgements, lines

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
OURS = "twofold"  # publisher of what is trained here
DEPTH = 50  # hits of either kind from which wrong answers are drawn
SHOWN = 40  # topics whose queries show the progress
EVERY = 4  # MiniLM looks for wrong answers in one verse of so many: that is most of what is done before training
LONGEST = 64  # tokens of a text in training; few verses are longer


class Data:
    """Texts, judgements without those that are held back, and what BM25 and MiniLM find for them."""

    def __init__(self, nave, minilm):
        self.verses = {verse["_id"]: verse["text"] for verse in map(json.loads, lines(nave / "corpus_kjv.jsonl"))}
        queries = {query["_id"]: query for query in map(json.loads, lines(nave / "queries_subtopic.jsonl"))}
        _, judged = judgements(nave)
        held_back = {queries[query]["topic"] for query in complete_queries(judged)}
        open_queries = [query for query in judged if queries[query]["topic"] not in held_back]
        topics = sorted({queries[query]["topic"] for query in open_queries})
        shown = set(random.Random(3).sample(topics, SHOWN))
        self.texts = {query: queries[query]["text"] for query in open_queries}
        self.relevant = {query: [row.split("\t")[1] for row in judged[query]] for query in open_queries}
        self.shown = [query for query in open_queries if queries[query]["topic"] in shown]
        self.training = [query for query in open_queries if queries[query]["topic"] not in shown]
        self.by_words = dict(zip(self.texts, self.words()))
        self.by_meaning = dict(zip(self.training, self.meaning(minilm)))
        print(f"{len(self.training)} queries to train with, {len(self.shown)} to watch, {len(held_back)} topics held back", flush=True)

    def words(self):
        """The best verses of every query by BM25."""
        of = lambda text: re.findall(r"\w+", text.lower())
        ids, count, postings = list(self.verses), len(self.verses), collections.defaultdict(list)
        lengths = numpy.array([len(of(text)) for text in self.verses.values()])
        for place, text in enumerate(self.verses.values()):
            for word, times in collections.Counter(of(text)).items():
                postings[word].append((place, times))
        weights = {}
        for word, found in postings.items():
            places, times = numpy.array(found).T
            weight = times * 2.2 / (times + 1.2 * (0.25 + 0.75 * lengths[places] / lengths.mean()))
            weights[word] = places, math.log(1 + (count - len(found) + 0.5) / (len(found) + 0.5)) * weight
        for text in self.texts.values():
            scores = numpy.zeros(count)
            for word in {word for word in of(text) if word in weights}:
                places, weight = weights[word]
                scores[places] += weight
            yield [ids[place] for place in numpy.argsort(-scores)[:DEPTH]]

    def meaning(self, minilm):
        """The best verses of every query to train with by cosine of MiniLM's vectors, out of a part of the verses."""
        tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()

        def encoded(texts):
            vectors = torch.empty(len(texts), model.config.hidden_size)
            by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
            for at in range(0, len(texts), 64):
                places = by_length[at : at + 64]
                batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    tokens = model(**batch).last_hidden_state.float()
                kept = batch["attention_mask"][..., None]
                vectors[places] = torch.nn.functional.normalize((tokens * kept).sum(1) / kept.sum(1), dim=-1)
            return vectors

        ids = list(self.verses)[::EVERY]
        verses = encoded([self.verses[verse] for verse in ids])
        for scores in (part @ verses.T for part in encoded([self.texts[query] for query in self.training]).split(256)):
            yield from ([ids[place] for place in places] for places in scores.topk(DEPTH).indices.tolist())

    def examples(self, wrong, chance):
        """Endless: a query, a verse that is relevant, and `wrong` that were found and are not."""
        while True:
            for query in chance.sample(self.training, len(self.training)):
                relevant = set(self.relevant[query])
                found = [verse for verse in self.by_words[query] + self.by_meaning[query] if verse not in relevant]
                yield query, chance.choice(self.relevant[query]), chance.sample(found, wrong)


class Colbert(torch.nn.Module):
    """A vector a token; the score is the sum of the best matches of a query's tokens."""

    name, batch, wrong, steps, rate = "nave-colbert", 24, 1, 240, 1e-4
    markers, query_length, dimensions = ("[unused0]", "[unused1]"), 32, 128

    def __init__(self, folder):
        super().__init__()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.linear = torch.nn.Linear(self.model.config.hidden_size, self.dimensions, bias=False)
        torch.nn.init.orthogonal_(self.linear.weight)
        self.skipped = torch.tensor(self.tokenizer.convert_tokens_to_ids(list(string.punctuation)))

    @classmethod
    def begin(cls, models, data):
        return cls(models / MINILM)

    @classmethod
    def trained(cls, models):
        folder = models / OURS / cls.name
        model = cls(folder)
        model.linear.weight.data = load_file(folder / "model.safetensors")["linear.weight"]
        model.model.set_attn_implementation("eager")  # the faster one on a CPU
        return model.eval()

    def vectors(self, texts, marker, longest, fill):
        """Unit vectors `[n, tokens, dimensions]`, and which of them count."""
        tokenizer = self.tokenizer
        pieces = tokenizer(texts, add_special_tokens=False)["input_ids"]
        start, end = [tokenizer.cls_token_id, tokenizer.convert_tokens_to_ids(marker)], [tokenizer.sep_token_id]
        rows = [torch.tensor(start + of_text[: longest - 3] + end) for of_text in pieces]
        width = longest if fill == tokenizer.mask_token_id else max(map(len, rows))
        ids = torch.full((len(rows), width), fill)
        seen = torch.zeros(len(rows), width, dtype=torch.long)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            seen[row, : len(tokens)] = 1
        tokens = self.linear(self.model(ids, attention_mask=seen).last_hidden_state).float()
        return torch.nn.functional.normalize(tokens, dim=-1), seen.bool() & ~torch.isin(ids, self.skipped)

    def of_queries(self, queries):
        # Masks fill up a query and stand for words that it might have had; they count.
        return self.vectors(queries, self.markers[0], self.query_length, self.tokenizer.mask_token_id)[0]

    def of_verses(self, verses):
        return self.vectors(verses, self.markers[1], LONGEST, self.tokenizer.pad_token_id)

    def scores(self, queries, verses):
        """`[queries, verses]`."""
        queries = self.of_queries(queries)
        verses, kept = self.of_verses(verses)
        matches = torch.einsum("qid,vjd->qvij", queries, verses)
        return matches.masked_fill(~kept[None, :, None], -1).amax(-1).sum(-1)

    def loss(self, data, examples):
        """Of all verses of the batch, a query's own has to have the best score; others that are relevant to it are left out."""
        verses = [right for _, right, _ in examples] + [verse for _, _, wrong in examples for verse in wrong]
        scores = self.scores([data.texts[query] for query, _, _ in examples], [data.verses[verse] for verse in verses])
        for row, (query, right, _) in enumerate(examples):
            others = [at for at, verse in enumerate(verses) if at != row and verse in data.relevant[query]]
            scores[row, others] = -torch.inf
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(examples)))

    def of_candidates(self, query, verses):
        return self.scores([query], verses)[0]

    def write(self, folder):
        """The layout of colbert-ir/colbertv2.0."""
        self.model.config.architectures = ["HF_ColBERT"]
        self.model.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        weights = {f"bert.{name}": tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        save_file({**weights, "linear.weight": self.linear.weight.detach()}, folder / "model.safetensors", metadata={"format": "pt"})
        metadata = {
            "query_token_id": self.markers[0],
            "doc_token_id": self.markers[1],
            "query_maxlen": self.query_length,
            "doc_maxlen": 180,
            "dim": self.dimensions,
            "mask_punctuation": True,
            "attend_to_mask_tokens": False,
            "similarity": "cosine",
        }
        (folder / "artifact.metadata").write_text(json.dumps(metadata, indent=1) + "\n")


class Teacher:
    """What a ColBERT model thinks of verses; every text is encoded once."""

    def __init__(self, colbert, data):
        queries = {query: data.texts[query] for query in data.training}
        of_verses = lambda texts: (vectors[kept] for vectors, kept in zip(*colbert.of_verses(texts)))
        self.queries = dict(zip(queries, self.encoded(colbert.of_queries, list(queries.values()))))
        self.verses = dict(zip(data.verses, self.encoded(of_verses, list(data.verses.values()))))

    @staticmethod
    def encoded(encode, texts):
        """The vectors of every text."""
        vectors = [None] * len(texts)
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for at in range(0, len(texts), 64):
            places = by_length[at : at + 64]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                for place, of_text in zip(places, encode([texts[place] for place in places])):
                    vectors[place] = of_text.bfloat16()
        return vectors

    def scores(self, query, verses):
        """MaxSim of every verse."""
        return torch.stack([(self.queries[query] @ self.verses[verse].T).float().amax(1).sum() for verse in verses])


class CrossEncoder(torch.nn.Module):
    """Reads a query and a verse together; the score is what a linear layer makes of the first token."""

    name, batch, wrong, steps, rate = "nave-cross-encoder", 16, 7, 450, 1e-4
    judged = 0.3  # how much the judgement counts in what is learned; the rest is the teacher's opinion
    frozen = 2  # lowest layers that stay as the ColBERT model has them
    together = 32  # pairs of similar lengths that go through the network together

    def __init__(self, folder, teacher):
        super().__init__()
        self.teacher = teacher
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        # Without dropout, and with attention written out, a step takes half of the time on a CPU.
        self.model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager"
        )
        torch.nn.init.orthogonal_(self.model.classifier.weight)
        for part in (self.model.bert.embeddings, *self.model.bert.encoder.layer[: self.frozen]):
            part.requires_grad_(False)

    @classmethod
    def begin(cls, models, data):
        # What the ColBERT model has learned of headings and verses need not be learned again.
        return cls(models / OURS / Colbert.name, Teacher(Colbert.trained(models), data))

    def scores(self, pairs):
        by_length = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        parts = []
        for at in range(0, len(pairs), self.together):
            queries, verses = zip(*(pairs[place] for place in by_length[at : at + self.together]))
            tokens = self.tokenizer(queries, verses, padding=True, truncation=True, max_length=2 * LONGEST, return_tensors="pt")
            parts.append(self.model(**tokens).logits[:, 0].float())
        return torch.cat(parts)[torch.tensor(by_length).argsort()]

    def loss(self, data, examples):
        """Cross-entropy with a distribution over a query's verses: between what was judged and what the teacher thinks."""
        groups = [(query, [right, *wrong]) for query, right, wrong in examples]
        scores = self.scores([(data.texts[query], data.verses[verse]) for query, verses in groups for verse in verses])
        taught = torch.stack([self.teacher.scores(query, verses) for query, verses in groups]).softmax(1)
        judged = torch.zeros_like(taught)
        judged[:, 0] = 1
        return torch.nn.functional.cross_entropy(scores.view_as(taught), self.judged * judged + (1 - self.judged) * taught)

    def of_candidates(self, query, verses):
        return self.scores([(query, verse) for verse in verses])

    def write(self, folder):
        """The layout of cross-encoder/ms-marco-MiniLM-L6-v2; scores stay as they are, they are no probabilities."""
        self.model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def ndcg(ranked, relevant):
    gain = lambda hits: sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits[:10]) if hit)
    return gain([verse in relevant for verse in ranked]) / gain([True] * len(relevant))


def watched(model, data, queries):
    """nDCG@10 of what BM25 finds, in its order and in the model's."""
    before, after = [], []
    for query in queries:
        found, relevant = data.by_words[query], set(data.relevant[query])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            scores = model.of_candidates(data.texts[query], [data.verses[verse] for verse in found]).tolist()
        ranked = [verse for _, verse in sorted(zip(scores, found), reverse=True)]
        before.append(ndcg(found, relevant))
        after.append(ndcg(ranked, relevant))
    return f"nDCG@10 {numpy.mean(before):.3f} by BM25, {numpy.mean(after):.3f} reranked"


def train(model, data):
    # The table of words stays: it has most of the weights, and few of the words are in the judgements.
    model.model.get_input_embeddings().weight.requires_grad_(False)
    learned = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=model.rate, weight_decay=0.01)
    rise = model.steps // 10
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (model.steps - step) / (model.steps - rise))
    )
    examples = data.examples(model.wrong, random.Random(4))
    shown = random.Random(5).sample(data.shown, min(40, len(data.shown)))
    model.train()
    losses, began = [], time.process_time()
    for step in range(1, model.steps + 1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(data, [next(examples) for _ in range(model.batch)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0 or step == model.steps:
            model.eval()
            spent = time.process_time() - began
            print(f"{model.name} {step}: loss {numpy.mean(losses):.3f}, {watched(model, data, shown)}, {spent:.0f} s of CPU", flush=True)
            model.train()
            losses = []


def main():
    kind, nave, models = sys.argv[1], *map(pathlib.Path, sys.argv[2:4])
    torch.manual_seed(1)
    data = Data(nave, models / MINILM)
    model = {"colbert": Colbert, "cross-encoder": CrossEncoder}[kind].begin(models, data)
    train(model, data)
    folder = models / OURS / model.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.write(folder)
    print(folder, flush=True)


if __name__ == "__main__":
    main()
