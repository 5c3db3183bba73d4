"""Measures the encoder beside onnxruntime and torch: one thread, CPU time, tokenisation not included. Every round lets every
engine encode every workload once, one after the other, and measures what the processor can do at most, so that a noisy
machine is unfair to all alike. Before the rounds each engine tries its batch sizes, and keeps the best of each workload.

usage: bench_encode.py EXAMPLES-DIRECTORY MODEL-DIRECTORY CACHE-DIRECTORY ROUNDS
Prints a table of tokens per CPU-second: the median over the rounds, the median and the range of the ratios to onnxruntime's
f32 in the same round, and the share of the peak of its kind of numbers that the operations of the model itself come to.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

from tokenizers import Tokenizer

# Tokens of every text of a workload.
WORKLOADS = {
    "20 tokens": [20] * 160,
    "200 tokens": [200] * 16,
    "8 - 256 tokens": [8 + i * 248 // 24 for i in range(25)],
    "a query of 10 tokens": [10] * 120,
}
ONE_AT_A_TIME = "a query of 10 tokens"
BASE = "onnxruntime f32"
INT8 = "onnxruntime int8, dynamic"
OUR_INT8 = "Twofold int8"
OUR_BF16 = "Twofold bf16"
# What an engine computes in, where it is not f32.
NUMBERS = {INT8: "int8", OUR_INT8: "int8", OUR_BF16: "bf16"}


class Peer:
    """An engine behind scripts/peer_encoder.py; a batch is a number of texts."""

    batches = [8, 32]
    one = 1

    def __init__(self, *args):
        command = [sys.executable, Path(__file__).parent / "peer_encoder.py", *args]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cpu_seconds(self, texts, batch):
        print(json.dumps({"file": str(texts), "batch": batch}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())["cpu_s"]


class Twofold:
    """The example `throughput`; a batch is a budget of tokens."""

    batches = [1024, 4096]
    one = 1

    def __init__(self, examples, model, precision):
        self.command = [examples / "throughput", "--model", model, "--device", "cpu", "--precision", precision]

    def cpu_seconds(self, texts, batch):
        done = subprocess.run([*self.command, texts, "--budget", str(batch)], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)["encode_cpu_s"]


def write_texts(tokenizer, lengths, path):
    """Texts of exactly these numbers of tokens, of words of the documentation that are one token each."""
    root = Path(__file__).parent.parent
    words = set(re.findall(r"[a-z]{2,}", " ".join(file.read_text() for file in sorted((root / "docs").glob("*.md")))))
    words = sorted(word for word in words if tokenizer.token_to_id(word) is not None)
    rng = random.Random(7)
    # Two tokens begin and end a text.
    lines = [" ".join(rng.choices(words, k=length - 2)) for length in lengths]
    assert [len(tokenizer.encode(line).ids) for line in lines] == lengths
    path.write_text("\n".join(lines) + "\n")


def operations(model, lengths):
    """Floating point operations of the products of a BERT with weights, and of its attention, over texts of these lengths."""
    config = json.loads((model / "config.json").read_text())
    hidden, wide, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    weights = 4 * hidden * hidden + 2 * hidden * wide
    return sum(layers * length * 2 * (weights + 2 * length * hidden) for length in lengths)


def main():
    examples, model, cache = map(Path, sys.argv[1:4])
    rounds = int(sys.argv[4])
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = {name: cache / f"texts-{i}.txt" for i, name in enumerate(WORKLOADS)}
    for name, lengths in WORKLOADS.items():
        write_texts(tokenizer, lengths, texts[name])
    f32, int8 = cache / "minilm-f32.onnx", cache / "minilm-int8.onnx"
    subprocess.run([sys.executable, Path(__file__).parent / "minilm_onnx.py", model, f32, int8], check=True)
    engines = {
        "Twofold f32": Twofold(examples, model, "f32"),
        OUR_BF16: Twofold(examples, model, "bf16"),
        OUR_INT8: Twofold(examples, model, "int8"),
        BASE: Peer("onnxruntime", model, f32),
        INT8: Peer("onnxruntime", model, int8),
        "sentence-transformers (torch)": Peer("torch", model),
    }

    def speed(engine, workload, batch):
        return sum(WORKLOADS[workload]) / engines[engine].cpu_seconds(texts[workload], batch)

    best = {}
    for engine, it in engines.items():
        for workload in WORKLOADS:
            sizes = [it.one] if workload == ONE_AT_A_TIME else it.batches
            # The faster of two tries: one that was disturbed says nothing about a size.
            best[engine, workload] = max(sizes, key=lambda size: max(speed(engine, workload, size) for _ in range(2)))
    measured = {key: [] for key in best}
    peaks = []
    for i in range(rounds):
        peaks.append(json.loads(subprocess.run([examples / "peaks"], check=True, stdout=subprocess.PIPE).stdout))
        for engine, workload in best:
            measured[engine, workload].append(speed(engine, workload, best[engine, workload]))
        print(f"round {i + 1} of {rounds} done", file=sys.stderr)

    for kind in peaks[0]:
        of_kind = [peak[kind] for peak in peaks]
        print(f"peak in {kind}: {median(of_kind):.1f} billion a CPU-second ({min(of_kind):.1f} - {max(of_kind):.1f})")
    print(f"{rounds} rounds\n")
    print("| texts | engine | batch | tokens per CPU-second | ratio to onnxruntime f32 | share of the peak |")
    print("|---|---|---|---|---|---|")
    for workload, lengths in WORKLOADS.items():
        per_token = operations(model, lengths) / sum(lengths)
        for engine in engines:
            speeds = measured[engine, workload]
            ratios = [speed / base for speed, base in zip(speeds, measured[BASE, workload])]
            kind = NUMBERS.get(engine, "f32")
            share = median(speed * per_token / (peak[kind] * 1e9) for speed, peak in zip(speeds, peaks))
            print(
                f"| {workload} | {engine} | {best[engine, workload]} | {median(speeds):,.0f} "
                f"| {median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f}) | {share:.0%} |"
            )


if __name__ == "__main__":
    main()
