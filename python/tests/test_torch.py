"""cyxwiz.torch: trained models as PyTorch modules. Needs torch, which the package does not install."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cyxwiz
import cyxwiz.torch

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CYXWIZ_BUILD", ROOT / "build"))
CASES = [ROOT / "tests/golden/layers.json", ROOT / "tests/export/cases.json"]
EXAMPLES = sorted((ROOT / "examples").glob("*.json"))
NAMES = [case["name"] for file in CASES for case in json.loads(file.read_text())] + [file.stem for file in EXAMPLES]


def test_says_what_to_install_where_torch_is_missing(tmp_path):
    for name in ("torch", "safetensors"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('no module', name=__name__)")
    done = subprocess.run([sys.executable, "-c", "import cyxwiz.torch; cyxwiz.torch.load('/tmp')"], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert "ImportError: cyxwiz.torch needs PyTorch and safetensors: pip install torch safetensors" in done.stderr


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("safetensors", reason="safetensors is not installed: pip install safetensors")
    return pytest.importorskip("torch", reason="torch is not installed: pip install torch")


@pytest.fixture(scope="module")
def cases(torch, tmp_path_factory):
    """Models as jobs leave them, with inputs and what the runner computes from them."""
    folder = tmp_path_factory.mktemp("cases")
    done = subprocess.run([BUILD / "test/write_cases", folder, *CASES, *EXAMPLES], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_gives_what_the_runner_gives_under_the_same_names(torch, cases, name):
    from safetensors.torch import load_file

    folder = cases / name
    if not folder.is_dir():
        pytest.skip("its data set is not on this machine")
    model = cyxwiz.torch.load(folder)
    weights = load_file(folder / "weights.safetensors")
    state = model.state_dict()
    assert set(state) == set(weights)
    for one, values in weights.items():
        assert torch.equal(state[one], values), one
    values = load_file(folder / "values.safetensors")
    with torch.no_grad():
        y = model(model.prepare(values["x"]))
    torch.testing.assert_close(y, values["y"], rtol=1e-5, atol=1e-5 * max(1, values["y"].abs().max().item()))


def test_prepares_tensors_and_numpy_arrays_alike(torch, cases):
    numpy = pytest.importorskip("numpy", reason="numpy is not installed: pip install numpy")
    model = cyxwiz.torch.load(cases / "dense")
    values = numpy.arange(12, dtype=numpy.uint8).reshape(2, 6)
    expected = model.prepare(torch.from_numpy(values.copy()))
    values.flags.writeable = False  # as numpy.frombuffer leaves it
    assert torch.equal(model.prepare(values), expected)
    assert torch.equal(model.prepare(values.astype(numpy.float64)), expected)
    with pytest.raises(TypeError, match="expected a tensor or a NumPy array, found list"):
        model.prepare(values.tolist())
    with pytest.raises(TypeError):
        model.prepare(values.astype(object))


def test_a_name_without_a_slash_is_a_folder_only_where_it_holds_a_model(torch, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = _Asked()
    (tmp_path / "job-1").mkdir()  # as `cyxwiz export job-1` leaves it
    (tmp_path / "job-1/model.onnx").touch()
    with pytest.raises(cyxwiz.NotFound, match="model.json"):
        cyxwiz.torch.load("job-1", client=client)
    assert client.jobs == ["job-1"]
    for file in ("model.json", "weights.safetensors"):
        (tmp_path / "job-1" / file).write_bytes((cases / "dense" / file).read_bytes())
    cyxwiz.torch.load("job-1", client=client)
    assert client.jobs == ["job-1"]


class _Asked:
    """A client that notes what it is asked for, and has no files."""

    def __init__(self):
        self.jobs = []

    def download(self, job, folder):
        self.jobs.append(job)


def test_can_be_trained_further(torch, cases):
    model = cyxwiz.torch.load(cases / "residual").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model(torch.randn(4, 1, 6, 6)).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name, _ in model.named_parameters())


def test_errors(torch, cases, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(cyxwiz.NotFound, match="model.json"):
        cyxwiz.torch.load(tmp_path)
    (tmp_path / "model.json").write_bytes((cases / "dense/model.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes((cases / "conv2d/weights.safetensors").read_bytes())
    with pytest.raises(cyxwiz.Corrupt, match="l.weight"):
        cyxwiz.torch.load(tmp_path)
    weights = load_file(cases / "dense/weights.safetensors")
    save_file({**weights, "more": weights["l.bias"].clone()}, tmp_path / "weights.safetensors")
    with pytest.raises(cyxwiz.Corrupt, match="more"):
        cyxwiz.torch.load(tmp_path)
    described = json.loads((cases / "dense/model.json").read_text())
    described["model"]["layers"][0]["type"] = "dance"
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(cyxwiz.Corrupt, match="dance"):
        cyxwiz.torch.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(cyxwiz.Corrupt, match="not JSON"):
        cyxwiz.torch.load(tmp_path)
