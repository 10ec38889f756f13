#!/usr/bin/env python3
"""Measures the memory of training each of examples/*.json against what the specification estimates, and prints JSON.

    bench/train/memory.py [--build DIR] [--examples NAME,...]

Each job is trained for one epoch by cyxwiz-runner --train with a checkpoint on the way, on the first 320 images of
Fashion-MNIST where an epoch of all would take minutes. peak: the most that the process had resident, libtorch included, as
the estimate counts it too.
"""

import argparse
import gzip
import json
import pathlib
import shutil
import sys
import tempfile

from run import EXAMPLES, FASHION_MNIST, last_json

#: Of these, an epoch of all images is short.
SMALL_MODELS = ("fashion-mnist-mlp", "fashion-mnist-autoencoder")
IMAGES = {"train": 320, "t10k": 256}


def write_first_images(folder: pathlib.Path) -> None:
    for part, count in IMAGES.items():
        for name, header, size in ((f"{part}-images-idx3-ubyte.gz", 16, 784), (f"{part}-labels-idx1-ubyte.gz", 8, 1)):
            with gzip.open(f"{FASHION_MNIST}/{name}") as file:
                content = bytearray(file.read(header + count * size))
            content[4:8] = count.to_bytes(4, "big")
            with gzip.open(folder / name, "wb", compresslevel=1) as file:
                file.write(content)


def measure(build: pathlib.Path, name: str, folder: pathlib.Path) -> dict:
    job = json.loads((EXAMPLES / f"{name}.json").read_text())
    job["hyperparameters"].update(epochs=1, checkpoint_seconds=0.5)
    path = job["dataset"].partition("?")[0]
    if path.startswith("file:///srv/data/"):
        job["dataset"] = job["dataset"].replace("/srv/data/", f"{folder}/")
    elif path == f"file://{FASHION_MNIST}" and name not in SMALL_MODELS:
        job["dataset"] = f"file://{folder}"
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    done = last_json([build / "bin/cyxwiz-runner", "--train", file, "--folder", folder / "result", "--data-root", folder,
                      "--data-root", "/usr/share", "--cpus", 2])
    estimated, peak = done["estimated_memory_bytes"], done["peak_memory_bytes"]
    return {"name": name, "estimated_bytes": estimated, "peak_bytes": peak, "ratio": round(estimated / peak, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=EXAMPLES.parent / "build")
    parser.add_argument("--examples", default=",".join(sorted(path.stem for path in EXAMPLES.glob("*.json"))))
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        write_first_images(pathlib.Path(folder))
        shutil.copy(EXAMPLES / "data/flats.csv", folder)
        for name in args.examples.split(","):
            results.append(measure(args.build, name, pathlib.Path(folder)))
            print(json.dumps(results[-1]), file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
