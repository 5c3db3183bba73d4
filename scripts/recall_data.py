"""Turns public sets into the plain files that the recall suite and the search benchmark read.

usage: recall_data.py sets glove.npy fashion-directory out-directory
       recall_data.py glosses wordnet-directory out.txt
       recall_data.py split vectors.f32 set out-directory
Only the standard library is used. Output: <set>.base.f32 and <set>.query.f32, each two little-endian u32 (count,
dimensions) and then rows of little-endian f32.
"""

import array
import ast
import gzip
import random
import struct
import sys
from pathlib import Path


def write(path, rows, dimensions):
    with open(path, "wb") as out:
        out.write(struct.pack("<II", len(rows), dimensions))
        for row in rows:
            out.write(row)
    print(f"{path}: {len(rows)} x {dimensions}")


def read_npy(path):
    data = Path(path).read_bytes()
    assert data[:6] == b"\x93NUMPY", f"{path} is not in numpy's format"
    size, start = (struct.unpack("<H", data[8:10])[0], 10) if data[6] == 1 else (struct.unpack("<I", data[8:12])[0], 12)
    header = ast.literal_eval(data[start : start + size].decode())
    assert header["descr"] == "<f4", header
    count, dimensions = header["shape"]
    values = array.array("f", data[start + size :])
    if header["fortran_order"]:
        return [values[i::count].tobytes() for i in range(count)], dimensions
    return [values[i * dimensions : (i + 1) * dimensions].tobytes() for i in range(count)], dimensions


def read_idx(path):
    data = gzip.decompress(Path(path).read_bytes())
    _, count, height, width = struct.unpack(">IIII", data[:16])
    dimensions = height * width
    pixels = memoryview(data)[16:]
    return [array.array("f", pixels[i * dimensions : (i + 1) * dimensions]).tobytes() for i in range(count)], dimensions


def sets(glove, fashion, out):
    fashion, out = Path(fashion), Path(out)
    rows, dimensions = read_npy(glove)
    held_back = set(random.Random(1).sample(range(len(rows)), 1000))
    write(out / "glove-50.query.f32", [rows[i] for i in sorted(held_back)], dimensions)
    write(out / "glove-50.base.f32", [row for i, row in enumerate(rows) if i not in held_back], dimensions)
    rows, dimensions = read_idx(next(fashion.rglob("train-images-idx3-ubyte.gz")))
    write(out / "fashion-mnist-784.base.f32", rows, dimensions)
    rows, dimensions = read_idx(next(fashion.rglob("t10k-images-idx3-ubyte.gz")))
    write(out / "fashion-mnist-784.query.f32", rows[:1000], dimensions)


def glosses(wordnet, out):
    """One gloss a line; in the data files it follows a bar."""
    lines = []
    for file in sorted(Path(wordnet).glob("data.*")):
        for line in file.read_text(encoding="latin-1").splitlines():
            if not line.startswith("  ") and "|" in line:
                lines.append(" ".join(line.split("|", 1)[1].split()))
    Path(out).write_text("\n".join(lines) + "\n")


def split(vectors, name, out):
    """Holds 500 rows back as queries, evenly spread."""
    data = Path(vectors).read_bytes()
    count, dimensions = struct.unpack("<II", data[:8])
    size = 4 * dimensions
    rows = [data[8 + i * size : 8 + (i + 1) * size] for i in range(count)]
    held_back = set(range(0, count, count // 500)[:500])
    write(Path(out) / f"{name}.base.f32", [row for i, row in enumerate(rows) if i not in held_back], dimensions)
    write(Path(out) / f"{name}.query.f32", [rows[i] for i in sorted(held_back)], dimensions)


def main():
    {"sets": sets, "glosses": glosses, "split": split}[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
