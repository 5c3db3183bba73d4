"""Encodes a file of texts with sentence-transformers and prints one JSON line of what it took.

    pip install -r scripts/requirements-reference.txt
    python scripts/reference_throughput.py FILE [--model DIR] [--threads 1] [--batch 32] [--limit TEXTS]

The counterpart of the example `throughput` of twofold-encode: same file, same model, tokenisation included, model
loading not.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from reference_vectors import default_model


def text_of(line):
    try:
        value = json.loads(line)
    except ValueError:
        return line
    if isinstance(value, dict):
        value = value.get("text")
    return value if isinstance(value, str) else line


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    model = SentenceTransformer(str(args.model), device="cpu")
    lines = args.file.read_text(encoding="utf-8").split("\n")
    texts = [text_of(line) for line in lines if line][: args.limit]
    model.encode(texts[:64], batch_size=args.batch, show_progress_bar=False)

    wall, cpu = time.perf_counter(), cpu_seconds()
    model.encode(texts, batch_size=args.batch, show_progress_bar=False)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu

    limit = {"truncation": True, "max_length": model.max_seq_length}
    tokens = sum(len(ids) for ids in model.tokenizer(texts, **limit)["input_ids"])
    print(
        json.dumps(
            {
                "texts": len(texts),
                "tokens": tokens,
                "threads": args.threads,
                "batch": args.batch,
                "wall_s": round(wall, 3),
                "cpu_s": round(cpu, 3),
                "texts_per_s": round(len(texts) / wall, 3),
                "tokens_per_s": round(tokens / wall),
            }
        )
    )


if __name__ == "__main__":
    main()
