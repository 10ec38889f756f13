"""Models leave the system: cyxwiz export of a job that a cluster has run."""

import hashlib
import json

import pytest

from cluster import cli, long_job
from test_cli import JOB


@pytest.fixture
def trained(shared, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    done = shared.cli("submit", str(tmp_path / "job.json"), "--wait", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["job_id"]


def test_a_job_is_exported_without_leaving_anything_else(shared, trained, tmp_path):
    out = tmp_path / "out"
    done = shared.cli("export", trained, "-o", str(out), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer == {"source": trained, "format": "onnx",
                      "files": [{"name": "model.onnx", "path": f"{out}/model.onnx",
                                 "size": (out / "model.onnx").stat().st_size}]}
    assert [file.name for file in out.iterdir()] == ["model.onnx"]

    # The same as from the files that download fetches.
    assert shared.cli("download", trained, "-o", str(tmp_path / "files")).returncode == 0
    assert shared.cli("export", str(tmp_path / "files"), "--format", "onnx").returncode == 0
    assert (tmp_path / "files/model.onnx").read_bytes() == (out / "model.onnx").read_bytes()


def test_a_job_is_exported_again_and_again_into_its_folder(shared, trained, tmp_path):
    for _ in range(2):
        done = shared.cli("export", trained, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{trained}/model.onnx ")
    assert [file.name for file in (tmp_path / trained).iterdir()] == ["model.onnx"]

    # With model.json in it, the folder is what is meant: no server is asked.
    assert shared.cli("download", trained, cwd=tmp_path).returncode == 0
    done = cli("export", trained, "--server", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_torchscript_is_written_by_the_runner_beside_the_program(shared, trained, tmp_path):
    done = shared.cli("export", trained, "--format", "torchscript", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{trained}/model.pt ")
    assert [file.name for file in (tmp_path / trained).iterdir()] == ["model.pt"]


def test_safetensors_are_the_jobs_own_files(shared, trained, tmp_path):
    done = shared.cli("export", trained, "--format", "safetensors", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    artifacts = json.loads(shared.cli("status", trained, "--json").stdout)["result"]["artifacts"]
    told = {artifact["name"]: artifact["sha256"] for artifact in artifacts}
    for name in ("model.json", "weights.safetensors"):
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == told[name]


def test_a_job_without_a_model_is_refused(shared, tmp_path):
    job = shared.submit(long_job()).job_id
    try:
        done = shared.cli("export", job, "-o", str(tmp_path / "out"))
        assert done.returncode == 4 and "it has left no model" in done.stderr and "watch" in done.stderr
        assert not (tmp_path / "out").exists()
    finally:
        shared.cli("cancel", job)
    assert shared.cli("export", "no-such-job", "-o", str(tmp_path / "out")).returncode == 3
