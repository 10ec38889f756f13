"""Reads a data set as Python programs do: a table by pandas, a folder of images by torchvision, an array by NumPy.

    python read_loop.py table.csv|images|arrays.npy

To float32 features (of images bytes, as a job keeps them) and labels in memory. Prints one line of JSON with the seconds,
importing not counted.
"""

import json
import pathlib
import sys
import time

import numpy


def read_table(path: pathlib.Path) -> tuple:
    import pandas
    begin = time.perf_counter()
    table = pandas.read_csv(path)
    return table.drop(columns="label").to_numpy(numpy.float32), table["label"].to_numpy(), begin


def read_images(path: pathlib.Path) -> tuple:
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_png, read_file
    torch.set_num_threads(1)
    begin = time.perf_counter()
    folder = ImageFolder(path, loader=lambda file: decode_png(read_file(file), ImageReadMode.GRAY))
    images, labels = zip(*folder)
    return torch.stack(images), torch.tensor(labels), begin


def read_arrays(path: pathlib.Path) -> tuple:
    begin = time.perf_counter()
    return numpy.load(path), numpy.load(path.with_name("labels.npy")), begin


def main() -> None:
    path = pathlib.Path(sys.argv[1])
    x, y, begin = {".csv": read_table, "": read_images, ".npy": read_arrays}[path.suffix](path)
    seconds = time.perf_counter() - begin
    assert len(x) == len(y)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
