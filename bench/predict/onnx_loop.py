"""Predictions of an exported model by ONNX Runtime, as a job makes them: every test image of Fashion-MNIST, in batches, into a file.

    python onnx_loop.py MODEL.onnx DATA OUT.npy [--batch N] [--threads N]

Needs onnxruntime and numpy. Prints one line of JSON with samples_per_second, without reading the images and the model.
"""

import argparse
import gzip
import json
import time

import numpy
import onnxruntime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=216)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with gzip.open(f"{args.data}/t10k-images-idx3-ubyte.gz") as file:
        images = numpy.frombuffer(file.read()[16:], numpy.uint8).reshape(-1, 1, 28, 28)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    begin = time.perf_counter()
    outputs = [session.run(None, {"input": images[first:first + args.batch]})[0]
               for first in range(0, len(images), args.batch)]
    numpy.save(args.out, numpy.concatenate(outputs))
    print(json.dumps({"samples_per_second": len(images) / (time.perf_counter() - begin)}))


if __name__ == "__main__":
    main()
