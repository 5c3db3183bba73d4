"""Turns the public vector sets into the plain files that the recall suite reads.

usage: recall_data.py glove.npy|glove-archive fashion-directory out-directory
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


def main():
    glove, fashion, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows, dimensions = read_npy(glove)
    held_back = set(random.Random(1).sample(range(len(rows)), 1000))
    write(out / "glove-50.query.f32", [rows[i] for i in sorted(held_back)], dimensions)
    write(out / "glove-50.base.f32", [row for i, row in enumerate(rows) if i not in held_back], dimensions)
    rows, dimensions = read_idx(next(fashion.rglob("train-images-idx3-ubyte.gz")))
    write(out / "fashion-mnist-784.base.f32", rows, dimensions)
    rows, dimensions = read_idx(next(fashion.rglob("t10k-images-idx3-ubyte.gz")))
    write(out / "fashion-mnist-784.query.f32", rows[:1000], dimensions)


if __name__ == "__main__":
    main()
