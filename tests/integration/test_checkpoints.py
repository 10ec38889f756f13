"""A job that is paused, or whose node is killed, goes on from its newest checkpoint and ends with the weights of one that was
left alone, bit for bit."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster import BIN, job, job_pb2, short_job
from cyxwiz.protocol import control_pb2, control_pb2_grpc

PAUSED, RUNNING = job_pb2.JOB_STATE_PAUSED, job_pb2.JOB_STATE_RUNNING

# Dropout, batch normalisation and two moments a weight: all that a checkpoint has to hold.
LAYERS = [{"type": "dense", "units": 128, "activation": "relu"}, {"type": "batch_normalization"},
          {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 10}]


def trained(seconds=3, checkpoint_seconds="0.2", **fields):
    return job(dataset="mock://random_data?samples=20000&features=256", layers=LAYERS, hyperparameters={
        "epochs": str(round(seconds * 2)), "threads": "1", "validation_split": "0.1", "checkpoint_seconds": checkpoint_seconds},
        **fields)


def weights(response):
    return response.result.model_weights_hash


def stored(cluster):
    """The files in the server's store of checkpoints."""
    return [p.name for p in (cluster.data / "checkpoints" / "sha256").rglob("*") if p.is_file()]


def nothing_stored(cluster, timeout=10):
    """Whether the server has deleted them all; a file system tells nobody when it has."""
    deadline = time.monotonic() + timeout
    while stored(cluster) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not stored(cluster)


def sweep(cluster):
    """What was uploaded and never reported, because the node died in between, goes when the server starts."""
    cluster.server.kill()
    cluster.start_server()


@pytest.fixture
def two_nodes(make_cluster):
    cluster = make_cluster(lease_ms=2000, heartbeat_interval_ms=200)
    cluster.add_node(cpus=1)
    return cluster


def wait_checkpoint(cluster, id):
    return cluster.wait(id, until=lambda s: s.HasField("checkpoint")).checkpoint


def test_paused_and_resumed_it_ends_with_the_same_weights(cluster):
    control = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    alone = cluster.succeed(cluster.submit(trained(checkpoint_seconds="0")).job_id)

    # Without checkpoints in between: the one that it goes on from is written because of the pause.
    id = cluster.submit(trained(checkpoint_seconds="0")).job_id
    cluster.wait_running(id)
    control.PauseJob(control_pb2.PauseJobRequest(job_id=id))
    paused = cluster.wait(id, until=lambda s: s.state == PAUSED)
    assert paused.checkpoint.step > 0
    assert f"paused at epoch {paused.checkpoint.epoch}, step {paused.checkpoint.step}" in paused.message
    assert sorted(f.name for f in paused.checkpoint.files) == ["manifest.json", "state.safetensors"]
    assert sorted(stored(cluster)) == sorted(f.sha256 for f in paused.checkpoint.files)

    cluster.server.kill()
    cluster.start_server()
    cluster.wait(id, until=lambda s: s.state == PAUSED)
    control.ResumeJob(control_pb2.ResumeJobRequest(job_id=id))
    running = cluster.wait(id, until=lambda s: s.state == RUNNING)
    assert running.message == f"resumed from epoch {paused.checkpoint.epoch}, step {paused.checkpoint.step}"
    resumed = cluster.succeed(id)
    assert weights(resumed) == weights(alone)
    assert dict(resumed.result.final_metrics).keys() == dict(alone.result.final_metrics).keys()
    assert not resumed.status.HasField("checkpoint")
    assert nothing_stored(cluster), "nobody goes on from it any more"


def test_a_killed_node_goes_on_from_its_checkpoint(two_nodes):
    cluster, node = two_nodes, two_nodes.nodes[0]
    alone = cluster.succeed(cluster.submit(trained(checkpoint_seconds="0")).job_id)
    id = cluster.submit(trained()).job_id
    checkpoint = wait_checkpoint(cluster, id)
    node.kill()
    node.start()
    running = cluster.wait(id, until=lambda s: s.state == RUNNING and s.attempt == 2)
    assert running.message.startswith("resumed from epoch "), running
    assert int(running.message.rpartition(" ")[2]) >= checkpoint.step, "what it had kept itself is at least as new"
    assert weights(cluster.succeed(id)) == weights(alone)
    sweep(cluster)
    assert stored(cluster) == []


def test_another_node_goes_on_from_the_checkpoint_of_a_lost_one(two_nodes):
    cluster, first = two_nodes, two_nodes.nodes[0]
    alone = cluster.succeed(cluster.submit(trained(checkpoint_seconds="0")).job_id)
    id = cluster.submit(trained()).job_id
    wait_checkpoint(cluster, id)
    first.kill()
    checkpoint = cluster.status(id).checkpoint
    second = cluster.add_node(cpus=1)
    running = cluster.wait(id, until=lambda s: s.state == RUNNING and s.attempt == 2)
    assert running.current_node_id == second.id
    assert running.message == f"resumed from epoch {checkpoint.epoch}, step {checkpoint.step}"
    assert weights(cluster.succeed(id)) == weights(alone)
    log = cluster.cli("logs", id).stdout
    assert "getting the checkpoint" in log and "going on from a checkpoint" in log, log


def test_a_damaged_checkpoint_is_noticed_and_the_job_ends_right_all_the_same(two_nodes):
    cluster, node = two_nodes, two_nodes.nodes[0]
    alone = cluster.succeed(cluster.submit(trained(checkpoint_seconds="0")).job_id)
    id = cluster.submit(trained()).job_id
    wait_checkpoint(cluster, id)
    node.kill()
    complete = sorted((node.data / "attempts" / id / "1" / "checkpoints").glob("*/manifest.json"))
    state = complete[-1].with_name("state.safetensors")
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    node.start()
    assert weights(cluster.succeed(id)) == weights(alone)
    log = cluster.cli("logs", id, "--attempt", "2").stdout
    assert "is damaged" in log, log


def test_a_drained_nodes_job_moves_with_its_checkpoint(two_nodes):
    cluster, first = two_nodes, two_nodes.nodes[0]
    alone = cluster.succeed(cluster.submit(trained(checkpoint_seconds="0")).job_id)
    id = cluster.submit(trained(checkpoint_seconds="0")).job_id
    cluster.wait_running(id)
    second = cluster.add_node(cpus=1)
    assert cluster.cli("drain", first.id).returncode == 0
    running = cluster.wait(id, until=lambda s: s.state == RUNNING and s.attempt == 2)
    assert running.current_node_id == second.id and running.message.startswith("resumed from epoch ")
    assert weights(cluster.succeed(id)) == weights(alone)


def test_a_cancelled_job_leaves_no_checkpoint_behind(two_nodes):
    cluster, node = two_nodes, two_nodes.nodes[0]
    id = cluster.submit(trained(seconds=60)).job_id
    wait_checkpoint(cluster, id)
    cluster.client().cancel(id)
    cluster.wait(id)
    # The node hears of it with a heartbeat; another job's end comes after that.
    cluster.succeed(cluster.submit(short_job(1)).job_id)
    sweep(cluster)
    assert stored(cluster) == []
    assert not (node.data / "checkpoints" / id).exists()


def test_verify_compares_a_killed_training_with_one_left_alone(tmp_path):
    from cluster import cli
    file = tmp_path / "job.json"
    file.write_text(json.dumps({
        "model": {"layers": LAYERS}, "dataset": "mock://random_data?samples=5000&features=64",
        "hyperparameters": {"epochs": 20, "validation_split": 0.1}}))
    done = cli("verify", str(file), "--kills", "2", "--json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    assert report["same"] and report["weights_sha256"] == report["resumed_weights_sha256"]
    assert len(report["kills"]) == 2 and report["resumed_at_step"] > 0
    text = cli("verify", str(file), "--kills", "1", "--folder", str(tmp_path / "kept"))
    assert text.returncode == 0 and "bit for bit" in text.stdout, text
    assert Path(tmp_path / "kept" / "killed" / "weights.safetensors").exists()

    file.write_text(json.dumps({"model": {"layers": [{"type": "dance"}]}, "dataset": "mock://random_data"}))
    wrong = cli("verify", str(file))
    assert wrong.returncode == 4 and "dance" in wrong.stderr, wrong


def test_verify_that_is_interrupted_leaves_nothing_behind(tmp_path):
    file, folder = tmp_path / "job.json", tmp_path / "temporary"
    folder.mkdir()
    file.write_text(json.dumps({"model": {"layers": LAYERS}, "dataset": "mock://random_data",
                                "hyperparameters": {"epochs": 1000000}}))
    with subprocess.Popen([BIN / "cyxwiz", "verify", file], stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "TMPDIR": str(folder)}) as verify:
        assert verify.stderr.readline() == "training once without a break ...\n"
        assert len(list(folder.iterdir())) == 1
        verify.send_signal(signal.SIGINT)
        assert verify.wait(30) == 130
    assert list(folder.iterdir()) == []
