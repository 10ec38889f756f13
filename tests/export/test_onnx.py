"""ONNX files of `cyxwiz export`, checked by ONNX's own checker and run by ONNX Runtime."""

import json
import struct

import numpy as np
import onnx
import onnxruntime
from conftest import BUILD, run
from safetensors.numpy import load_file, save_file


def start(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def predict(session, x):
    (output,) = session.run(None, {"input": x})
    return output


def test_gives_what_the_runner_gives(case, cyxwiz):
    cyxwiz("export", case)
    model = onnx.load(case / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    described = json.loads((case / "model.json").read_text())
    session = start(case / "model.onnx")
    (given,), (told,) = session.get_inputs(), session.get_outputs()
    assert given.shape == ["batch", *described["model"]["input_shape"]]
    assert told.shape == ["batch", *described["model"]["output_shape"]]
    assert told.name.removesuffix("/output") == described["model"]["layers"][-1]["name"]

    values = load_file(case / "values.safetensors")
    x, y = values["x"], values["y"]
    assert given.type == ("tensor(uint8)" if x.dtype == np.uint8 else "tensor(float)")
    # Values near zero carry the rounding of the large ones beside them.
    near = 1e-5 * max(1, np.abs(y).max())
    np.testing.assert_allclose(predict(session, x), y, rtol=1e-5, atol=near)
    for size in (1, 2):
        np.testing.assert_allclose(predict(session, x[:size]), y[:size], rtol=1e-5, atol=near)


def test_weights_have_the_names_of_the_file(cases, cyxwiz):
    folder = cases / "residual"
    cyxwiz("export", folder)
    weights = load_file(folder / "weights.safetensors")
    held = {tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(folder / "model.onnx").graph.initializer}
    used = {name: values for name, values in weights.items() if not name.endswith("num_batches_tracked")}
    assert set(used) <= set(held)
    for name, values in used.items():
        np.testing.assert_array_equal(held[name], values)


def test_scales_features_as_the_training_did(cases, tmp_path, cyxwiz):
    """Mean and deviation that model.json tells are part of the graph, one for each feature or channel."""
    for name, each in (("dense", (6,)), ("conv2d", (4, 1, 1))):
        folder = tmp_path / name
        folder.mkdir()
        values = load_file(cases / name / "values.safetensors")
        mean, deviation = np.linspace(-2, 3, each[0], dtype="f4"), np.linspace(0.5, 2, each[0], dtype="f4")
        described = json.loads((cases / name / "model.json").read_text())
        described["data"] = {"normalize": {"mean": mean.tolist(), "deviation": deviation.tolist()}}
        (folder / "model.json").write_text(json.dumps(described))
        save_file(load_file(cases / name / "weights.safetensors"), folder / "weights.safetensors")
        cyxwiz("export", folder)
        raw = values["x"] * deviation.reshape(each) + mean.reshape(each)
        np.testing.assert_allclose(predict(start(folder / "model.onnx"), raw), values["y"], rtol=1e-5, atol=1e-5)


def idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def test_a_trained_model_is_as_accurate_as_its_job_said(tmp_path, cyxwiz):
    """Raw bytes of IDX images in, the job's own test accuracy out."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 600, dtype=np.uint8)
    images = random.integers(0, 120, (600, 6, 6), dtype=np.uint8)
    images[np.arange(600), labels, labels] = 250
    data = tmp_path / "data"
    data.mkdir()
    for part, some in (("train", slice(0, 400)), ("t10k", slice(400, 600))):
        idx(data / f"{part}-images-idx3-ubyte", images[some])
        idx(data / f"{part}-labels-idx1-ubyte", labels[some])
    layers = [{"type": "conv2d", "filters": 8, "kernel_size": 3, "activation": "relu"},
              {"type": "batch_normalization"}, {"type": "flatten"}, {"type": "dropout", "rate": 0.2},
              {"type": "dense", "units": 4, "activation": "softmax"}]
    (tmp_path / "job.json").write_text(json.dumps(
        {"model": {"layers": layers}, "dataset": f"file://{data}", "hyperparameters": {"epochs": 3}}))
    done = run(BUILD / "bin/cyxwiz-runner", "--train", tmp_path / "job.json", "--folder", tmp_path / "job",
               "--data-root", data)
    assert done.returncode == 0, done.stderr
    cyxwiz("export", tmp_path / "job", "--format", "onnx", "-o", tmp_path / "out")
    predicted = predict(start(tmp_path / "out/model.onnx"), images[400:, None])
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-5)
    told = json.loads((tmp_path / "job/model.json").read_text())["metrics"]["test_accuracy"]
    assert told > 0.5
    assert abs((predicted.argmax(1) == labels[400:]).mean() - told) <= 1 / 200


def test_safetensors_copies_the_model_and_its_weights(cases, tmp_path, cyxwiz):
    cyxwiz("export", cases / "dense", "--format", "safetensors", "-o", tmp_path / "copy")
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == ["model.json", "weights.safetensors"]
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (cases / "dense" / name).read_bytes()


def test_errors(cases, tmp_path, cyxwiz):
    assert "model.json" in cyxwiz("export", tmp_path, code=3).stderr
    assert "already" in cyxwiz("export", cases / "dense", "--format", "safetensors", code=2).stderr
    assert "keras" in cyxwiz("export", cases / "dense", "--format", "keras", code=2).stderr
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "model.json").write_bytes((cases / "dense/model.json").read_bytes())
    (folder / "weights.safetensors").write_bytes((cases / "conv2d/weights.safetensors").read_bytes())
    assert "tensor 'l.weight': expected F32 [4, 6]" in cyxwiz("export", folder, code=1).stderr
    assert not (folder / "model.onnx").exists()
