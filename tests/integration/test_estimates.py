"""What the specification estimates of a training's memory, against what its runner takes."""

import array
import json
import pathlib
import random
import shutil
import subprocess

import pytest

from cluster import BIN

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def wide():
    """16.8 million parameters with Adam: weights, gradients, two values more each, and a checkpoint's copies."""
    return {"model": {"layers": [{"type": "dense", "units": 4096, "activation": "relu"}, {"type": "dense", "units": 4000},
                                 {"type": "dense", "units": 10}]},
            "hyperparameters": {"batch_size": 16, "epochs": 2, "checkpoint_seconds": 0.01},
            "dataset": "mock://random_data?samples=64&test_samples=16&features=64"}


def deep():
    """Images through convolutions of many channels: what the backward pass keeps is nearly all."""
    layers = [{"type": "conv2d", "filters": 32, "kernel_size": 3, "padding": 1}, {"type": "batch_normalization", "activation": "relu"}]
    return {"model": {"layers": [{"type": "reshape", "target_shape": [1, 32, 32]}, *layers * 6, {"type": "global_average_pooling2d"},
                                 {"type": "dense", "units": 10}]},
            "hyperparameters": {"batch_size": 128, "optimizer": "sgd"},
            "dataset": "mock://random_data?samples=256&test_samples=16&features=1024"}


def broad():
    """One layer of very many units: its activations and their gradients are there at once."""
    return {"model": {"layers": [{"type": "dense", "units": 100_000}, {"type": "dense", "units": 10}]},
            "hyperparameters": {"batch_size": 400, "optimizer": "adam", "epochs": 2, "checkpoint_seconds": 0.01},
            "dataset": "mock://random_data?samples=400&test_samples=64&features=10"}


def of_sequences(length, samples, *layers, **hyperparameters):
    """Layers along sequences of 64 features, then a dense one; all samples are one batch."""
    return {"model": {"layers": [{"type": "reshape", "target_shape": [length, 64]}, *layers, {"type": "flatten"},
                                 {"type": "dense", "units": 10}]},
            "hyperparameters": {"batch_size": samples, **hyperparameters},
            "dataset": f"mock://random_data?samples={samples}&test_samples=1&features={64 * length}"}


def recurrent(kind, length, samples, **options):
    return of_sequences(length, samples, {"type": kind, "return_sequences": True, **options})


def classes(**hyperparameters):
    """Scores of 20,000 classes, of which the loss makes others of the same size."""
    return {"model": {"layers": [{"type": "dense", "units": 20_000}]},
            "hyperparameters": {"batch_size": 2048, "optimizer": "sgd", "metrics": ["accuracy"], **hyperparameters},
            "dataset": "mock://random_data?samples=2048&test_samples=1&features=8&classes=20000"}


def uneven():
    """Zeros on one side of the images that are larger than these."""
    conv = {"type": "conv2d", "filters": 2, "kernel_size": 2, "padding": "same", "dilation_rate": 301}
    return {"model": {"layers": [{"type": "reshape", "target_shape": [3, 9, 9]}, conv, conv, {"type": "global_average_pooling2d"},
                                 {"type": "dense", "units": 10}]},
            "hyperparameters": {"batch_size": 64}, "dataset": "mock://random_data?samples=64&test_samples=1&features=243"}


def positions():
    """A class of 10,000 at each of 64 positions."""
    return {"model": {"layers": [{"type": "embedding", "input_dim": 5000, "output_dim": 16}, {"type": "dense", "units": 10_000}]},
            "hyperparameters": {"batch_size": 64}, "dataset": "file:///srv/data/tokens.npy?labels=/srv/data/next.npy"}


def write_positions(folder):
    for name, below in (("tokens", 5000), ("next", 10_000)):
        header = str({"descr": "<i8", "fortran_order": False, "shape": (64, 64)}).ljust(117) + "\n"
        numbers = random.Random(1)
        values = array.array("q", (numbers.randrange(below) for _ in range(64 * 64)))
        (folder / f"{name}.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values.tobytes())


def example(name):
    job = json.loads((EXAMPLES / f"{name}.json").read_text())
    job["hyperparameters"]["epochs"] = 1
    return job


JOBS = {
    "wide": wide(), "broad": broad(), "deep": deep(), "classes": classes(), "smoothed": classes(label_smoothing=0.1), "positions": positions(),
    "uneven": uneven(), "rms": of_sequences(512, 256, *[{"type": "rms_normalization"}] * 8),
    "gru": recurrent("gru", 512, 48, units=160), "lstm": recurrent("lstm", 512, 48, units=160),
    "gru-both-ways": recurrent("gru", 256, 48, units=128, bidirectional=True, num_layers=2, dropout=0.2),
    "lstm-both-ways": recurrent("lstm", 512, 32, units=96, bidirectional=True, num_layers=2, dropout=0.2),
    "lstm-three": recurrent("lstm", 256, 64, units=64, bidirectional=True, num_layers=3),
    **{name: example(name) for name in ("fashion-mnist-mlp", "flats", "gpl-3-gpt", "gpl-3-lstm")}}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_memory_of_a_training_is_estimated_to_a_quarter(job, tmp_path):
    shutil.copy(EXAMPLES / "data/flats.csv", tmp_path)
    write_positions(tmp_path)
    job["dataset"] = job["dataset"].replace("/srv/data/", f"{tmp_path}/")
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run([BIN / "cyxwiz-runner", "--train", tmp_path / "job.json", "--folder", tmp_path / "result", "--data-root", tmp_path,
                           "--data-root", "/usr/share", "--cpus", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    mib = {name: told[f"{name}_memory_bytes"] / 2**20 for name in ("estimated", "peak")}
    assert 0.75 <= mib["estimated"] / mib["peak"] <= 1.25, mib
