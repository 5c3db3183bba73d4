"""Shows that encoding keeps its memory: encodes 100,000 texts of random lengths and watches the process.

usage: encode_memory.py EXAMPLES-DIRECTORY MODEL-DIRECTORY CACHE-DIRECTORY [PRECISION [TEXTS]]
Prints resident memory over the run, and fails where the second half takes a tenth more than the first.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

WORDS = "the a of vector index search query text encoder memory chunk token model batch score filter point payload".split()


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), None)
    return int(line.split()[1]) / 1024 if line else None


def main():
    examples, model, cache = map(Path, sys.argv[1:4])
    precision = sys.argv[4] if len(sys.argv) > 4 else "f32"
    count = int(sys.argv[5]) if len(sys.argv) > 5 else 100_000
    cache.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    texts = cache / "memory-texts.txt"
    # Most texts are short, some as long as the model allows.
    lengths = (min(250, int(rng.expovariate(1 / 15)) + 1 + 200 * (rng.random() < 0.01)) for _ in range(count))
    texts.write_text("\n".join(" ".join(rng.choices(WORDS, k=length)) for length in lengths) + "\n")
    process = subprocess.Popen([examples / "embed", model, texts, cache / "memory-vectors.bin", precision])
    seen = []
    while process.poll() is None:
        now = resident_mb(process.pid)
        if now:
            seen.append(now)
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"encoding failed: {process.returncode}")
    tenths = [max(seen[i * len(seen) // 10 : (i + 1) * len(seen) // 10]) for i in range(10)]
    print(f"{count:,} texts in {precision}; resident MB at most, by tenths of the run: " + " ".join(f"{mb:.0f}" for mb in tenths))
    # The first tenth loads the model. From then on memory goes up and down with the batches.
    growth = max(tenths[5:]) / max(tenths[1:5]) - 1
    print(f"the second half beside the first: {growth:+.1%}")
    sys.exit(growth > 0.1)


if __name__ == "__main__":
    main()
