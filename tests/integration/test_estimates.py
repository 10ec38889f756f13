"""What the specification estimates of a training's memory, against what its runner takes."""

import json
import pathlib
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


def example(name):
    job = json.loads((EXAMPLES / f"{name}.json").read_text())
    job["hyperparameters"]["epochs"] = 1
    return job


@pytest.mark.parametrize("job", [wide(), broad(), deep(), example("fashion-mnist-mlp"), example("flats"), example("gpl-3-gpt"), example("gpl-3-lstm")],
                         ids=["wide", "broad", "deep", "fashion-mnist-mlp", "flats", "gpl-3-gpt", "gpl-3-lstm"])
def test_memory_of_a_training_is_estimated_to_a_quarter(job, tmp_path):
    shutil.copy(EXAMPLES / "data/flats.csv", tmp_path)
    job["dataset"] = job["dataset"].replace("/srv/data/", f"{tmp_path}/")
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run([BIN / "cyxwiz-runner", "--train", tmp_path / "job.json", "--folder", tmp_path / "result", "--data-root", tmp_path,
                           "--data-root", "/usr/share", "--cpus", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    mib = {name: told[f"{name}_memory_bytes"] / 2**20 for name in ("estimated", "peak")}
    assert 0.75 <= mib["estimated"] / mib["peak"] <= 1.25, mib
