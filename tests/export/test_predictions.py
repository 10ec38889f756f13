"""What `cyxwiz predict` says of data is what exported models make of the same data, as its file holds it."""

import csv
import json
import math
import os
import re
import signal
import subprocess

import numpy as np
import onnxruntime
import pytest
from conftest import BUILD, ROOT, run
from safetensors.numpy import load_file, save_file


class Server:
    """`cyxwiz up` with one node; data sets lie in `data`."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.data.mkdir()
        self.process = subprocess.Popen(
            [BUILD / "bin/cyxwiz", "up", "--grpc-port", "0", "--rest-port", "0", "--json", "--data", folder / "up",
             "--data-root", self.data], stdout=subprocess.PIPE, text=True)
        self.address = json.loads(self.process.stdout.readline())["grpc"]

    def call(self, *arguments):
        done = run(BUILD / "bin/cyxwiz", *arguments, "--server", self.address)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def train(self, job, folder):
        """Runs the job, and downloads its model into the folder."""
        folder.mkdir()
        (folder / "job.json").write_text(json.dumps(job))
        done = json.loads(self.call("submit", folder / "job.json", "--wait", "--json").splitlines()[-1])
        self.call("download", done["job_id"], "-o", folder)
        return done["job_id"]

    def predict(self, job_id, uri, folder):
        self.call("predict", job_id, "--data", uri, "--output", "npy", "-o", folder)
        return np.load(folder / "predictions.npy")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def exported(folder, x, cyxwiz):
    """What the model of the folder makes of x, by the form in which it was exported."""
    cyxwiz("export", folder, "--format", "onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", *x.shape[1:]]
    (onnx,) = session.run(None, {"input": x})
    save_file({"x": x, "y": onnx}, folder / "values.safetensors")
    done = run(BUILD / "test/run_torchscript", folder)
    assert done.returncode == 0, done.stderr
    given = {"onnx": onnx, "torchscript": load_file(folder / "torchscript.safetensors")["y"]}
    try:
        import cyxwiz.torch
        import torch
    except ImportError:  # only with CYXWIZ_PYTORCH
        return given
    model = cyxwiz.torch.load(folder)
    with torch.no_grad():
        return {**given, "pytorch": model(model.prepare(x)).numpy()}


def assert_agree(given, predicted):
    assert np.isfinite(predicted).all()
    for form, output in given.items():
        np.testing.assert_allclose(output.reshape(predicted.shape), predicted, rtol=1e-5,
                                   atol=1e-5 * max(1, np.abs(predicted).max()), err_msg=form)


def write_flats(path):
    random = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "city", "area", "kind", "floor", "rent"])
        for i in range(90):
            area = round(20 + 80 * random.random(), 1)
            table.writerow([i, random.choice(["oslo", "bergen", "", "tromso"]), random.choice(["", area]),
                            random.choice(["flat", "house"]), random.choice([0, 3, 10]), round(area / 10, 2)])


def columns_of(path, model):
    """A row a record, a value a column, as docs/how-to/export.md says it."""
    def value(column, cell):
        if cell == "":
            return math.nan
        return column["categories"].index(cell) if "categories" in column else float(cell)

    with path.open(newline="") as file:
        return np.array([[value(column, record[column["name"]]) for column in model["data"]["columns"]]
                         for record in csv.DictReader(file)], "f4")


@pytest.mark.parametrize("parameters", ["missing=mean&normalize=true", "missing=zero&encoding=index",
                                        "missing=mean&categorical=floor", "missing=mean&ignore=city,kind"])
def test_a_table_with_texts_and_missing_values(server, tmp_path, cyxwiz, parameters):
    path = server.data / "flats.csv"
    write_flats(path)
    uri = f"file://{path}?label=rent&" + (parameters if "ignore" in parameters else "ignore=id&" + parameters)
    job = server.train({"model": {"layers": [{"type": "dense", "units": 8, "activation": "tanh"},
                                             {"type": "dense", "units": 1}]},
                        "dataset": uri, "hyperparameters": {"epochs": 3, "loss": "mse"}}, tmp_path / "job")
    model = json.loads((tmp_path / "job/model.json").read_text())
    x = columns_of(path, model)
    assert np.isnan(x).any(0).sum() >= 1
    assert_agree(exported(tmp_path / "job", x, cyxwiz), server.predict(job, uri, tmp_path / "predicted"))


def test_volumes_are_scaled_by_channel(server, tmp_path, cyxwiz):
    random = np.random.default_rng(4)
    x = random.normal(size=(40, 2, 3, 4, 5)).astype("f4") * np.array([5, 0.1], "f4")[:, None, None, None] + 7
    np.save(server.data / "x.npy", x)
    np.save(server.data / "y.npy", random.integers(0, 3, 40, dtype=np.int64))
    uri = f"file://{server.data}/x.npy?labels={server.data}/y.npy&normalize=true"
    job = server.train({"model": {"layers": [{"type": "conv3d", "filters": 3, "kernel_size": 2, "activation": "relu"},
                                             {"type": "flatten"}, {"type": "dense", "units": 3, "activation": "softmax"}]},
                        "dataset": uri, "hyperparameters": {"epochs": 2}}, tmp_path / "job")
    normalize = json.loads((tmp_path / "job/model.json").read_text())["data"]["normalize"]
    np.testing.assert_allclose(normalize["mean"], x.mean((0, 2, 3, 4)), rtol=1e-5)
    np.testing.assert_allclose(normalize["deviation"], x.std((0, 2, 3, 4)), rtol=1e-4)
    assert_agree(exported(tmp_path / "job", x, cyxwiz), server.predict(job, uri, tmp_path / "predicted"))


def test_a_model_that_was_trained_in_bfloat16(server, tmp_path, cyxwiz):
    random = np.random.default_rng(5)
    x = random.normal(size=(200, 16)).astype("f4")
    np.save(server.data / "rows.npy", x)
    np.save(server.data / "sums.npy", x[:, :4].sum(1))
    uri = f"file://{server.data}/rows.npy?labels={server.data}/sums.npy"
    job = server.train({"model": {"layers": [{"type": "dense", "units": 64, "activation": "relu"},
                                             {"type": "dense", "units": 1}]}, "dataset": uri,
                        "hyperparameters": {"epochs": 3, "loss": "mse", "precision": "bfloat16"}}, tmp_path / "job")
    assert_agree(exported(tmp_path / "job", x, cyxwiz), server.predict(job, uri, tmp_path / "predicted"))


def test_the_example_of_a_table_in_the_documentation_runs(server, tmp_path, cyxwiz):
    """docs/how-to/export.md, on the data that it names."""
    text = (ROOT / "docs/how-to/export.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "columns" in block]
    (server.data / "flats.csv").write_bytes((ROOT / "examples/data/flats.csv").read_bytes())
    job = json.loads((ROOT / "examples/flats.json").read_text())
    uri = job["dataset"].replace("/srv/data", str(server.data)).replace("&test_split=0.2", "")
    job_id = server.train({**job, "dataset": uri}, tmp_path / "models")
    cyxwiz("export", tmp_path / "models")
    os.symlink(ROOT / "examples", tmp_path / "examples")
    done = subprocess.run([os.sys.executable, "-c", code + "\nnumpy.save('outputs.npy', outputs)"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_agree({"example": np.load(tmp_path / "outputs.npy")}, server.predict(job_id, uri, tmp_path / "predicted"))
