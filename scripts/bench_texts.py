"""Writes texts of mixed lengths, made of the words of the documentation, always the same ones.

usage: bench_texts.py COUNT FILE
"""

import random
import re
import sys
from pathlib import Path


def main():
    count, path = int(sys.argv[1]), Path(sys.argv[2])
    root = Path(__file__).parent.parent
    sources = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    words = re.findall(r"[A-Za-z]{2,}", " ".join(source.read_text() for source in sources))
    rng = random.Random(7)
    # A word is some 1.3 tokens: texts of about 8 to 200 tokens, short ones as frequent as long ones.
    lines = [" ".join(rng.choices(words, k=rng.randint(6, 130))) for _ in range(count)]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
