"""The command line: every command, --json, exit codes."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cluster import BIN, cli, descendants, job, long_job, wait_gone
from cyxwiz.protocol import job_pb2

JOB = {"name": "by cli", "type": "training", "priority": "normal", "model": {"layers": [{"type": "dense", "units": 10}]},
       "hyperparameters": {"epochs": 2, "learning_rate": 0.01, "optimizer": "adam"}, "dataset": "mock://random_data"}


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_submit_prints_the_id(shared, job_file):
    done = shared.cli("submit", job_file(), "--json")
    assert done.returncode == 0, done.stderr
    (answer,) = lines(done)
    assert answer["assigned_node_id"] == shared.nodes[0].id
    shared.succeed(answer["job_id"])


def test_submit_reads_standard_input(shared):
    done = shared.cli("submit", "-", "--json", input=json.dumps(JOB))
    assert done.returncode == 0, done.stderr
    shared.succeed(lines(done)[0]["job_id"])


def test_submit_wait_prints_the_final_status_with_metrics(shared, job_file):
    done = shared.cli("submit", job_file(), "--wait", "--json")
    assert done.returncode == 0, done.stderr
    final = lines(done)[-1]
    assert final["state"] == "JOB_STATE_SUCCEEDED" and final["status"] == "STATUS_COMPLETED"
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples_per_second"} <= set(final["metrics"])


def test_submit_wait_for_people(shared, job_file):
    done = shared.cli("submit", job_file(), "--wait")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout + done.stderr and "\x1b" not in done.stdout, "no colours into a pipe"


def test_a_refused_job_is_exit_4_with_every_problem(shared, job_file):
    path = job_file(hyperparameters={"learning_rate": "abc", "epochs": 0})
    done = shared.cli("submit", path)
    assert done.returncode == 4 and done.stdout == ""
    assert "$.hyperparameters.learning_rate" in done.stderr and "$.hyperparameters.epochs" in done.stderr
    done = shared.cli("submit", path, "--json")
    assert done.returncode == 4
    error = json.loads((done.stdout or done.stderr).splitlines()[-1])["error"]
    assert {p["path"] for p in error["problems"]} == {"$.hyperparameters.learning_rate", "$.hyperparameters.epochs"}


def test_usage_errors_are_exit_2(shared, job_file, tmp_path):
    assert shared.cli("submit").returncode == 2
    assert shared.cli("submit", str(tmp_path / "nothing.json")).returncode == 2
    assert cli("frobnicate").returncode == 2
    assert cli("ps", "--no-such-flag").returncode == 2


def test_wrong_job_files_are_refused_with_exit_4(shared, job_file, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    done = shared.cli("submit", str(tmp_path / "bad.json"))
    assert done.returncode == 4 and "bad.json" in done.stderr
    done = shared.cli("submit", job_file(modle={}))
    assert done.returncode == 4 and "modle" in done.stderr and "model" in done.stderr


@pytest.mark.parametrize("command", [["status", "nope"], ["watch", "nope"], ["logs", "nope"], ["cancel", "nope"],
                                     ["download", "nope", "-o", "/tmp/cyxwiz-never"]])
def test_an_unknown_job_is_exit_3(shared, command):
    done = shared.cli(*command)
    assert done.returncode == 3 and "nope" in done.stderr and done.stdout == "", done
    assert not Path("/tmp/cyxwiz-never").exists()


def test_no_server_is_exit_6():
    for command in (["ps"], ["nodes"], ["status", "x"]):
        done = cli(*command, "--server", "127.0.0.1:1")
        assert done.returncode == 6 and "127.0.0.1:1" in done.stderr, done


def test_the_server_comes_from_the_environment(shared):
    assert cli("nodes", "--json", env={"CYXWIZ_SERVER": shared.address}).returncode == 0


def test_ps_status_and_nodes(shared, job_file):
    job_id = lines(shared.cli("submit", job_file(), "--wait", "--json"))[-1]["job_id"]
    done = shared.cli("ps", "--json")
    assert done.returncode == 0
    (listed,) = lines(done)
    assert job_id in [j["job_id"] for j in listed["jobs"]] and "next_page_token" in listed
    assert job_id in shared.cli("ps").stdout
    (status,) = lines(shared.cli("status", job_id, "--json"))
    assert (status["job_id"], status["state"]) == (job_id, "JOB_STATE_SUCCEEDED")
    assert "by cli" in shared.cli("status", job_id).stdout
    (listed,) = lines(shared.cli("nodes", "--json"))
    assert [n["node_id"] for n in listed["nodes"]] == [shared.nodes[0].id]
    assert shared.nodes[0].endpoint in shared.cli("nodes").stdout


def test_watch_prints_plain_lines_into_a_pipe(shared, job_file):
    job_id = lines(shared.cli("submit", job_file(), "--json"))[0]["job_id"]
    done = shared.cli("watch", job_id)
    assert done.returncode == 0 and "\x1b" not in done.stdout and "\r" not in done.stdout
    watched = shared.cli("watch", job_id, "--json")
    assert watched.returncode == 0
    updates = lines(watched)
    assert {update["job_id"] for update in updates} == {job_id}
    assert updates[-1]["status"]["state"] == "JOB_STATE_SUCCEEDED" and "train_loss" in updates[-1]["live_metrics"]


def test_logs(shared, job_file):
    job_id = lines(shared.cli("submit", job_file(), "--json"))[0]["job_id"]
    followed = shared.cli("logs", job_id, "-f")
    assert followed.returncode == 0 and "epoch" in followed.stdout
    shared.succeed(job_id)
    assert shared.cli("logs", job_id).stdout == followed.stdout
    said = lines(shared.cli("logs", job_id, "--json"))
    assert [line["data"] for line in said] == followed.stdout.splitlines()
    assert all(line["attempt"] == 1 for line in said) and said[1]["offset"] == len(said[0]["data"]) + 1


def test_download(shared, job_file, tmp_path):
    job_id = lines(shared.cli("submit", job_file(), "--wait", "--json"))[-1]["job_id"]
    done = shared.cli("download", job_id, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    weights = (tmp_path / "out" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == shared.get(job_id).result.model_weights_hash
    assert (tmp_path / "out" / "model.json").is_file()
    (fetched,) = lines(shared.cli("download", job_id, "-o", str(tmp_path / "again"), "--json"))
    first = fetched["files"][0]
    assert first == {"name": "weights.safetensors", "path": str(tmp_path / "again" / "weights.safetensors"),
                     "sha256": hashlib.sha256(weights).hexdigest(), "size": len(weights)}


def test_cancel_tells_the_state_as_json(shared):
    job_id = shared.submit(long_job()).job_id
    shared.wait_running(job_id)
    (said,) = lines(shared.cli("cancel", job_id, "--json"))
    assert said["job_id"] == job_id, said
    shared.wait(job_id)
    over = shared.cli("cancel", shared.succeed(shared.submit(job()).job_id).status.job_id, "--json")
    assert over.returncode == 4 and json.loads(over.stderr)["error"]["code"] == "FAILED_PRECONDITION"


def test_cancel_and_the_exit_code_of_a_cancelled_job(shared):
    job_id = shared.submit(long_job()).job_id
    watcher = subprocess.Popen([str(BIN / "cyxwiz"), "watch", job_id, "--server", shared.address], stdout=subprocess.DEVNULL)
    shared.wait_running(job_id)
    assert shared.cli("cancel", job_id).returncode == 0
    assert watcher.wait(30) == 9
    assert shared.status(job_id).state == job_pb2.JOB_STATE_CANCELLED


def test_a_failed_job_is_exit_8(shared, job_file):
    done = shared.cli("submit", job_file(hyperparameters={"optimizer": "sgd", "learning_rate": 1e30, "epochs": 5}, model={
        "layers": [{"type": "dense", "units": 64}, {"type": "dense", "units": 10}]}), "--wait")
    assert done.returncode == 8 and "loss" in done.stderr + done.stdout, done


def test_version_and_help():
    assert cli("version").stdout.strip()
    assert json.loads(cli("version", "--json").stdout)["version"]
    done = cli("--help")
    assert done.returncode == 0
    for command in ("up", "submit", "ps", "status", "watch", "logs", "cancel", "nodes", "download", "version"):
        assert command in done.stdout
        assert cli(command, "--help").returncode == 0


def test_up_serves_and_ctrl_c_leaves_no_process(tmp_path):
    up = subprocess.Popen([str(BIN / "cyxwiz"), "up", "--data", str(tmp_path / "data"), "--nodes", "2", "--grpc-port", "0",
                           "--rest-port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True)
    try:
        ready = json.loads(up.stdout.readline())
        assert set(ready) >= {"grpc", "rest", "nodes", "server_pid", "data"}
        assert ready["rest"].startswith("http://127.0.0.1:") and ready["data"] == str(tmp_path / "data")
        assert len(ready["nodes"]) == 2 and all(set(n) >= {"node_id", "endpoint", "pid"} for n in ready["nodes"])
        done = cli("submit", "-", "--wait", "--json", "--server", ready["grpc"], input=json.dumps(JOB))
        assert done.returncode == 0, done.stderr
        cli("submit", "-", "--server", ready["grpc"], input=json.dumps({
            **JOB, "hyperparameters": {"epochs": 100000}}))
        below = descendants(up.pid)
        assert {ready["server_pid"], *(n["pid"] for n in ready["nodes"])} <= set(below)
        os.killpg(up.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        assert up.wait(20) == 0
        assert not wait_gone(below, 5)
    finally:
        if up.poll() is None:
            up.kill()
        up.communicate()


def test_up_that_is_killed_leaves_no_process(tmp_path):
    up = subprocess.Popen([str(BIN / "cyxwiz"), "up", "--data", str(tmp_path / "data"), "--grpc-port", "0", "--rest-port", "0",
                           "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert json.loads(up.stdout.readline())
        below = descendants(up.pid)
        assert len(below) >= 3
        up.kill()
        up.wait()
        assert not wait_gone(below, 10)
    finally:
        if up.poll() is None:
            up.kill()
        up.communicate()
