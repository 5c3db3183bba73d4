"""Writes worker/encode/tests/fixtures/minilm_reference.json: what sentence-transformers makes of a list of texts.

    pip install -r scripts/requirements-reference.txt
    python scripts/reference_vectors.py [--model DIR] [--out FILE] [--only written]

Every text is encoded alone and on one thread, so that no padding and no other text can have a part in its vector.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

PROSE = """A library keeps its books on shelves, but a reader rarely asks for a shelf; she asks for an answer. The
catalogue stands between the two, and for a century it spoke only in words: title, author, subject, shelf mark. Whoever
did not know the word did not find the book. A vector index is a catalogue that speaks in meanings instead. Each passage
becomes a point, near to the passages that say the same and far from those that do not, whatever words they chose. The
question becomes a point as well, and the answer is its neighbour. What makes this work is an encoder that was shown
millions of pairs which belong together, until it learned to lay them side by side. What makes it fast is that the
passages were encoded long before anyone asked: only the question is new. What makes it fail is everything in between:
texts cut in the wrong place, a prompt forgotten, a mask that lets the padding speak, a model exchanged for another of
the same width. None of these raises an error. The neighbours are merely a little further away, and nobody can say why.""".split()

WRITTEN = [
    "",
    "a",
    "Hello",
    "cats",
    "The cat sits on the mat.",
    "A feline rests upon a rug.",
    "Stock markets fell sharply on Monday.",
    "What is the capital of France?",
    "Paris is the capital of France.",
    "  leading and trailing white space \t\n",
    "Line one\nline two\r\nline three\ttabbed",
    "Größenwahn, naïveté, Ærøskøbing, Łódź, Çeşme and İstanbul",
    "Москва - столица России, крупнейший город страны.",
    "東京は日本の首都であり、世界最大の都市圏の一つです。",
    "北京是中华人民共和国的首都",
    "القاهرة هي عاصمة جمهورية مصر العربية",
    "नई दिल्ली भारत की राजधानी है।",
    "서울은 대한민국의 수도이다.",
    "🚀🔥 shipping it today!!! 👩‍👩‍👧‍👦 🇫🇷",
    "zero\u200bwidth and combining e\u0301 and nul\u0000byte",
    "fn main() { let x: Vec<f32> = vec![0.0; 384]; println!(\"{}\", x.len()); }",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.org 192.168.0.1:6333",
    "1234567890 3.14159 -42 1e-12 0xDEADBEEF 50% $9.99",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "x" * 150,
    "[CLS] special tokens [SEP] written as text [MASK] [PAD] [UNK]",
]

# Tokens without the two specials. Equal lengths twice (different texts); 300 and 400 exceed the model's maximum.
LENGTHS = [1, 2, 3, 8, 8, 16, 31, 32, 33, 64, 64, 100, 150, 200, 253, 254, 255, 300, 400]


def prose_of(tokenizer, length, start):
    """Words of the prose from `start` on, as many as make `length` tokens; full stops fill up what is missing."""
    words = PROSE[start:] + PROSE * 4
    text = ""
    for word in words:
        longer = f"{text} {word}".strip()
        if len(tokenizer.tokenize(longer)) > length:
            break
        text = longer
    while len(tokenizer.tokenize(text)) < length:
        text += "."
    return text


def rounded(vector):
    return [float(f"{x:.7g}") for x in vector.tolist()]


def default_model():
    mac = Path.home() / "Library/Caches"
    cache = mac if sys.platform == "darwin" else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "twofold/models/sentence-transformers/all-MiniLM-L6-v2"


def main():
    fixtures = Path(__file__).resolve().parent.parent / "worker/encode/tests/fixtures"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--out", type=Path, default=fixtures / "minilm_reference.json")
    parser.add_argument("--only", choices=["written"], help="few texts, and no other poolings: for a second model")
    args = parser.parse_args()

    torch.set_num_threads(1)
    model = SentenceTransformer(str(args.model), device="cpu")
    tokenizer = model.tokenizer
    if args.only:
        texts = WRITTEN[4:26:2] + [prose_of(tokenizer, model.max_seq_length + 20, 0)]
    else:
        texts = WRITTEN + [prose_of(tokenizer, length, 11 * i) for i, length in enumerate(LENGTHS)]

    def encode(model, text):
        return rounded(model.encode([text], show_progress_bar=False, convert_to_numpy=True)[0])

    def tokens(text):
        return tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"]

    def pooled(mode):
        transformer = Transformer(str(args.model), max_seq_length=model.max_seq_length)
        return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=mode)], device="cpu")

    # The variants differ in what follows the transformer, so a few texts are enough for them.
    variants = {}
    for mode in () if args.only else ("cls", "max", "mean"):
        few = [texts.index(t) for t in ("", "cats", "The cat sits on the mat.")] + [len(texts) - 9, len(texts) - 1]
        variant = pooled(mode)
        variants[mode] = [{"text": i, "vector": encode(variant, texts[i])} for i in few]

    lines = [
        json.dumps({"text": text, "ids": tokens(text), "vector": encode(model, text)}, ensure_ascii=False)
        for text in texts
    ]
    made_with = {m.__name__: m.__version__.split("+")[0] for m in (sentence_transformers, torch, transformers)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        '{\n"made_with": ' + json.dumps(made_with)
        + ',\n"unnormalised": ' + json.dumps(variants)
        + ',\n"texts": [\n' + ",\n".join(lines) + "\n]\n}\n",
        encoding="utf-8",
    )
    print(f"{args.out}: {len(texts)} texts, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
