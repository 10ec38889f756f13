"""TorchScript files of `cyxwiz export`, run by libtorch alone and, where it is installed, by PyTorch."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest
from conftest import BUILD, run
from safetensors.numpy import load_file, save_file


@pytest.fixture(scope="session")
def scripts(cases):
    """The folders of `cases`, with model.pt and what libtorch makes of it."""
    done = run(BUILD / "test/run_torchscript", *sorted(cases.iterdir()))
    assert done.returncode == 0, done.stderr
    return cases


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed: pip install torch")


def assert_close(actual, expected):
    # Values near zero carry the rounding of the large ones beside them.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


def test_libtorch_gives_what_the_runner_gives(scripts, case):
    given, expected = load_file(case / "torchscript.safetensors"), load_file(case / "values.safetensors")["y"]
    assert_close(given["y"], expected)
    assert_close(given["one"], expected[:1])


def test_pytorch_gives_what_the_runner_gives(scripts, case, torch):
    module = torch.jit.load(case / "model.pt")
    values = load_file(case / "values.safetensors")
    with torch.no_grad():
        for size in (5, 1, 2):
            assert_close(module(torch.from_numpy(values["x"][:size])).numpy(), values["y"][:size])
        frozen = torch.jit.freeze(module)
        assert_close(frozen(torch.from_numpy(values["x"])).numpy(), values["y"])


def test_pytorch_has_the_weights_under_their_names(scripts, torch):
    folder = scripts / "residual"
    module = torch.jit.load(folder / "model.pt")
    state, weights = module.state_dict(), load_file(folder / "weights.safetensors")
    assert set(state) == set(weights)
    for name, values in weights.items():
        np.testing.assert_array_equal(state[name].numpy(), values)
    parameters = dict(module.named_parameters())
    assert all(one.requires_grad for one in parameters.values())
    assert set(weights) - set(parameters) == {name for name in weights if "running_" in name or "num_batches" in name}


def test_weights_have_the_names_of_the_file(scripts, case):
    held = {re.sub(r"_(?=\.|$)", "", name[len("state/"):]): values
            for name, values in load_file(case / "torchscript.safetensors").items() if name.startswith("state/")}
    weights = load_file(case / "weights.safetensors")
    assert set(held) == set(weights)
    for name, values in weights.items():
        np.testing.assert_array_equal(held[name], values)


def test_names_that_torchscript_cannot_have_end_in_an_underscore(scripts):
    held = load_file(scripts / "names_like_words/torchscript.safetensors")
    assert {name.rpartition(".")[0] for name in held if name.startswith("state/")} == {
        "state/if_", "state/training_", "state/stage.0.class_", "state/my-layer.1"}


def test_scales_features_as_the_training_did(scripts, tmp_path):
    """Mean and deviation that model.json tells are part of the module, one for each feature or channel."""
    for name, each in (("dense", (6,)), ("conv2d", (4, 1, 1))):
        folder = tmp_path / name
        folder.mkdir()
        values = load_file(scripts / name / "values.safetensors")
        mean, deviation = np.linspace(-2, 3, each[0], dtype="f4"), np.linspace(0.5, 2, each[0], dtype="f4")
        described = json.loads((scripts / name / "model.json").read_text())
        described["data"] = {"normalize": {"mean": mean.tolist(), "deviation": deviation.tolist()}}
        (folder / "model.json").write_text(json.dumps(described))
        shutil.copy(scripts / name / "weights.safetensors", folder)
        raw = values["x"] * deviation.reshape(each) + mean.reshape(each)
        save_file({"x": raw, "y": values["y"]}, folder / "values.safetensors")
        done = run(BUILD / "test/run_torchscript", folder)
        assert done.returncode == 0, done.stderr
        given = load_file(folder / "torchscript.safetensors")
        np.testing.assert_allclose(given["y"], values["y"], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(given["state/input_mean"], mean.reshape(each))


def test_the_command_writes_the_same_file(scripts, tmp_path, cyxwiz):
    folder = scripts / "residual"
    done = cyxwiz("export", folder, "--format", "torchscript", "-o", tmp_path / "out", "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["model.pt"] == [file["name"]]
    assert (tmp_path / "out/model.pt").read_bytes() == (folder / "model.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "out/model.pt") as archive:
        (name,) = [one for one in archive.namelist() if one.endswith("/extra/model.json")]
        assert archive.read(name) == (folder / "model.json").read_bytes()


def test_errors(cases, tmp_path, cyxwiz):
    (tmp_path / "bin").mkdir()
    shutil.copy(BUILD / "bin/cyxwiz", tmp_path / "bin")
    command = [tmp_path / "bin/cyxwiz", "export", cases / "dense", "--format", "torchscript", "-o", tmp_path / "out"]
    alone = run(*command)
    assert alone.returncode == 4
    assert f"'{tmp_path}/bin/cyxwiz-runner' is missing: it writes TorchScript files" in alone.stderr
    runner = tmp_path / "bin/cyxwiz-runner"
    runner.write_text("#!/bin/sh\necho no memory; kill -9 $$\n")
    runner.chmod(0o755)
    killed = run(*command)
    assert killed.returncode == 1
    assert f"'{runner}' was ended by signal 9 (Killed): no memory" in killed.stderr
    assert "model.json" in cyxwiz("export", tmp_path, "--format", "torchscript", code=3).stderr
    usage = run(BUILD / "bin/cyxwiz-runner", "--torchscript", cases / "dense")
    assert usage.returncode == 2 and "--file FILE" in usage.stderr
