#!/usr/bin/env python3
"""Measures how fast a job reads its data set, beside what Python programs read it with, and prints JSON.

    bench/data/run.py [--build DIR] [--rounds N] [--python PYTHON]

A table, a folder of PNG images and an array of NumPy, made here; each is read from the page cache to numbers in memory by
cyxwiz-runner --train (its load_seconds, checks of the job included), and by pandas, torchvision and NumPy (read_loop.py) where
`--python` (CYXWIZ_BENCH_PYTHON, or python3) can import these. Rounds alternate; medians.
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "train"))
from run import FASHION_MNIST, last_json, npy  # noqa: E402

TABLE_ROWS, TABLE_COLUMNS, IMAGES = 200_000, 20, 10_000
#: Of each kind: the URI's part behind the path, samples, and the module that reads it in Python.
KINDS = {"table.csv": ("?label=label", TABLE_ROWS, "pandas"), "images": ("?format=images", IMAGES, "torchvision"),
         "arrays.npy": ("?labels={folder}/labels.npy", 60_000, "numpy")}


def png(pixels: bytes, size: int) -> bytes:
    """A gray image, its rows filtered as encoders like to: each byte less the one above."""
    rows = b""
    above = bytes(size)
    for first in range(0, len(pixels), size):
        row = pixels[first:first + size]
        rows += b"\x02" + bytes((a - b) & 255 for a, b in zip(row, above))
        above = row

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_data(folder: pathlib.Path) -> None:
    source = random.Random(0)
    with open(folder / "table.csv", "w") as file:
        file.write(",".join([f"c{i}" for i in range(TABLE_COLUMNS)] + ["label"]) + "\n")
        for row in range(TABLE_ROWS):
            file.write(",".join([f"{source.uniform(-100, 100):.4f}" for _ in range(TABLE_COLUMNS)] + [str(row % 10)]) + "\n")
    with gzip.open(f"{FASHION_MNIST}/train-images-idx3-ubyte.gz") as file:
        pixels = file.read()[16:]
    with gzip.open(f"{FASHION_MNIST}/train-labels-idx1-ubyte.gz") as file:
        labels = file.read()[8:]
    for label in range(10):
        (folder / f"images/{label}").mkdir(parents=True)
    for i in range(IMAGES):
        (folder / f"images/{labels[i]}/{i:05}.png").write_bytes(png(pixels[i * 784:(i + 1) * 784], 28))
    (folder / "arrays.npy").write_bytes(npy((60_000, 784), pixels))
    (folder / "labels.npy").write_bytes(npy((60_000,), labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "python3"))
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_data(folder)
        for kind, (query, samples, module) in KINDS.items():
            # A model of one weight a feature, and a batch of all samples: reading is what it does.
            layers = [{"type": "flatten"}, {"type": "dense", "units": 10}]
            job = {"name": kind, "model": {"layers": layers}, "dataset": f"file://{folder / kind}{query.format(folder=folder)}",
                   "hyperparameters": {"batch_size": samples, "checkpoint_seconds": 0}}
            (folder / "job.json").write_text(json.dumps(job))
            has = subprocess.run([args.python, "-c", f"import numpy, {module}"], stderr=subprocess.DEVNULL).returncode == 0
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(last_json([args.build / "bin/cyxwiz-runner", "--train", folder / "job.json", "--folder", folder / "result",
                                       "--data-root", folder])["load_seconds"])
                if has:
                    theirs.append(last_json([args.python, HERE / "read_loop.py", folder / kind])["seconds"])
            result = {"kind": kind, "samples": samples, "module": module, "samples_per_second": round(samples / statistics.median(ours))}
            if theirs:
                result["other_samples_per_second"] = round(samples / statistics.median(theirs))
                result["ratio"] = round(statistics.median(b / a for a, b in zip(ours, theirs)), 2)
            results.append(result)
            print(json.dumps(result), file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
