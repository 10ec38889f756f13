"""Jobs on several nodes at once: real server and nodes; at first with a runner that speaks the protocol and does what the job's
name says, then with the real one."""

import json
import os
import re
import signal
import time

import pytest

from cluster import BIN, job, wait_gone
from cyxwiz.protocol import job_pb2

FAKE_RUNNER = BIN.parent / "test" / "fake_runner"
RUNNING = job_pb2.JOB_STATE_RUNNING


def gang(name, nodes=2, cpus=1):
    return job(name=name, resources={"nodes": nodes, "cpus": cpus})


def running(cluster, job_id, attempt=1):
    return cluster.wait(job_id, until=lambda s: s.state == RUNNING and s.attempt == attempt)


@pytest.fixture
def fleet(make_cluster):
    """A server and two nodes whose runner takes ranks."""
    cluster = make_cluster(lease_ms=3_000)
    for _ in range(2):
        cluster.add_node(cpus=2, runner=str(FAKE_RUNNER))
    return cluster


def place_of(node, job_id, attempt=1):
    """What the runner of this rank was told."""
    log = (node.data / "attempts" / job_id / str(attempt) / "log.txt").read_text()
    return json.loads(re.search(r"^gang (.*)$", log, re.MULTILINE).group(1))


def test_nodes_without_ports_for_ranks_to_meet_take_none(make_cluster):
    cluster = make_cluster()
    cluster.add_node(arguments=["--rendezvous-ports", ""])
    refusal = cluster.refusal(gang("two"))
    assert "the job needs 2 nodes at once, and no registered node takes ranks of gangs" in refusal.text()


def test_more_ranks_than_nodes_are_refused_with_the_numbers(fleet):
    refusal = fleet.refusal(gang("many", nodes=3))
    assert re.search("needs 3 nodes with 1 core, .* each, and of 2 registered 2 can hold that", refusal.text()), refusal.text()
    assert "$.resources.nodes" in fleet.refusal(gang("far too many", nodes=65)).text()


def test_ranks_train_on_cpus_only(fleet):
    refusal = fleet.refusal(job(device="cuda", resources={"nodes": 2}))
    assert "a job over several nodes trains on CPUs only" in refusal.problem("$.resources.nodes").message


def test_ranks_meet_and_the_result_is_that_of_rank_0(fleet):
    def all_begun_and_ended():
        job_id = fleet.submit(gang("hang")).job_id
        running(fleet, job_id)
        fleet.client().cancel(job_id)
        assert fleet.wait(job_id).state == job_pb2.JOB_STATE_CANCELLED
        return job_id

    done = fleet.succeed(fleet.submit(gang("succeed")).job_id)
    assert [artifact.name for artifact in done.result.artifacts] == ["weights.safetensors", "model.json"]
    job_id = all_begun_and_ended()
    places = [place_of(node, job_id) for node in fleet.nodes]
    assert sorted(place["rank"] for place in places) == [0, 1]
    assert {place["size"] for place in places} == {2}
    assert len({(place["host"], place["port"], place["secret"]) for place in places}) == 1
    assert 29500 <= places[0]["port"] <= 29599 and len(places[0]["secret"]) == 64
    client = fleet.client()
    for rank in (0, 1):
        told = [line for line in client.logs(job_id, rank=rank) if line.startswith("gang ")]
        assert [json.loads(line[len("gang "):])["rank"] for line in told] == [rank]
    assert '"rank":1' in fleet.cli("logs", job_id, "--rank", "1").stdout.replace(" ", "")
    assert fleet.cli("logs", job_id, "--rank", "2").returncode == 3
    other = all_begun_and_ended()
    assert place_of(fleet.nodes[0], other)["secret"] != places[0]["secret"]


def test_a_gang_ends_with_its_node_and_is_tried_again_when_all_have_ended(fleet):
    job_id = fleet.submit(gang("hang")).job_id
    status = running(fleet, job_id)
    assert sorted(status.rank_nodes) == sorted(node.id for node in fleet.nodes)
    assert status.rank_nodes[0] == status.current_node_id
    shown = fleet.cli("status", job_id).stdout
    assert ", ".join(status.rank_nodes) in shown
    waiting = fleet.submit(gang("succeed", cpus=2)).job_id
    reason = fleet.status(waiting).reasons[0]
    assert reason.code == "TOO_FEW_NODES" and "0 nodes could take a rank now" in reason.message
    fleet.nodes[1].kill()
    fleet.nodes[1].start()
    status = running(fleet, job_id, attempt=2)
    assert status.retries == 0 and status.nodes_lost == 1
    assert not any(node.runners() == [] for node in fleet.nodes)
    fleet.client().cancel(job_id)
    assert fleet.wait(job_id).state == job_pb2.JOB_STATE_CANCELLED
    fleet.succeed(waiting)


def test_a_rank_that_fails_takes_the_others_with_it(fleet):
    job_id = fleet.submit(gang("user-error")).job_id
    status = fleet.wait(job_id)
    assert status.state == job_pb2.JOB_STATE_FAILED and status.cause == job_pb2.CAUSE_USER_ERROR
    assert re.match(r"rank [01] on node \S+: .*no such file", status.error.message), status.error.message


def test_a_paused_gang_goes_on_from_the_checkpoint_of_rank_0(fleet):
    job_id = fleet.submit(gang("checkpoints")).job_id
    fleet.wait(job_id, until=lambda s: s.state == RUNNING and s.checkpoint.step == 10)
    fleet.client().pause(job_id)
    status = fleet.wait(job_id, until=lambda s: s.state == job_pb2.JOB_STATE_PAUSED)
    assert status.checkpoint.step == 20
    fleet.client().resume(job_id)
    running(fleet, job_id, attempt=2)
    for node in fleet.nodes:
        log = (node.data / "attempts" / job_id / "2" / "log.txt").read_text()
        assert "found 000000000020: state of step 20" in log, "all ranks begin at the same place"
    fleet.client().cancel(job_id)
    fleet.wait(job_id)


def test_a_restarted_server_finds_the_ranks_again(fleet):
    job_id = fleet.submit(gang("hang")).job_id
    running(fleet, job_id)
    fleet.server.kill()
    fleet.start_server()
    status = running(fleet, job_id)
    assert status.attempt == 1 and len(status.rank_nodes) == 2
    fleet.client().cancel(job_id)
    assert fleet.wait(job_id).attempt == 1


# ---- with the real runner

def trained(nodes=2, epochs=3, resources=None, **hyperparameters):
    return job(dataset="mock://random_data?samples=20000&features=64", resources={"nodes": nodes, "cpus": 1, **(resources or {})}, layers=[
        {"type": "dense", "units": 64, "activation": "relu"}, {"type": "dropout", "rate": 0.1}, {"type": "dense", "units": 10}],
        hyperparameters={"epochs": str(epochs), "batch_size": "512", "learning_rate": "0.01", "seed": "1", "threads": "1",
                         "validation_split": "0.1", "checkpoint_seconds": "0.2", **hyperparameters})


@pytest.fixture
def training_fleet(make_cluster):
    cluster = make_cluster(lease_ms=3_000, heartbeat_interval_ms=200)
    for _ in range(2):
        cluster.add_node(cpus=1)
    return cluster


def test_two_nodes_train_what_one_trains(training_fleet):
    one = training_fleet.succeed(training_fleet.submit(trained(nodes=1)).job_id)
    two = training_fleet.succeed(training_fleet.submit(trained(nodes=2)).job_id)
    assert two.status.metrics["test_accuracy"] > 0.95
    for name in ("train_accuracy", "validation_accuracy", "test_accuracy"):
        assert two.status.metrics[name] == pytest.approx(one.status.metrics[name], abs=0.02), name  # dropout draws otherwise


def test_a_gang_that_loses_a_node_ends_within_10_s_and_goes_on_from_its_checkpoint(training_fleet):
    alone = training_fleet.succeed(training_fleet.submit(trained(epochs=10)).job_id)
    job_id = training_fleet.submit(trained(epochs=10)).job_id
    training_fleet.wait(job_id, until=lambda s: s.HasField("checkpoint"))
    survivors = training_fleet.nodes[0].runners()
    killed = time.monotonic()
    training_fleet.nodes[1].kill()
    assert not wait_gone(survivors, 10), "the other rank trains on alone"
    assert time.monotonic() - killed < 10
    training_fleet.nodes[1].start()
    done = training_fleet.succeed(job_id, timeout=120)
    assert done.status.attempt == 2
    log = (training_fleet.nodes[0].data / "attempts" / job_id / "2" / "log.txt").read_text()
    assert "going on from a checkpoint" in log
    assert done.result.model_weights_hash == alone.result.model_weights_hash


def test_an_elastic_gang_goes_on_with_the_node_that_is_left(training_fleet):
    job_id = training_fleet.submit(trained(epochs=10, resources={"elastic": {"min_nodes": 1}}, shard_optimizer="true")).job_id
    status = training_fleet.wait(job_id, until=lambda s: s.HasField("checkpoint"))
    assert len(status.rank_nodes) == 2
    training_fleet.nodes[1].kill()
    done = training_fleet.succeed(job_id, timeout=120)
    assert done.status.attempt == 2 and done.status.retries == 0
    log = (training_fleet.nodes[0].data / "attempts" / job_id / "2" / "log.txt").read_text()
    assert "going on from a checkpoint" in log and "; rank " not in log
    assert done.status.metrics["test_accuracy"] > 0.95


def test_elastic_gangs_wait_for_their_least(training_fleet):
    refusal = training_fleet.refusal(trained(nodes=5, resources={"elastic": {"min_nodes": 3}}))
    assert re.search("needs 3 to 5 nodes with 1 core, .* each, and of 2 registered 2 can hold that", refusal.text()), refusal.text()
    refusal = training_fleet.refusal(trained(nodes=2, resources={"elastic": {"min_nodes": 3}}))
    assert refusal.problem("$.resources.elastic.min_nodes").expected == "1 to 2, the most that the job takes"
    plan = training_fleet.client().plan(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data",
                                          resources={"nodes": 5, "elastic": {"min_nodes": 2}, "cpus": 1})
    assert plan.node_id and not plan.reasons, plan


@pytest.fixture
def wide_node(make_cluster):
    cluster = make_cluster()
    cluster.add_node(cpus=2)
    return cluster


def test_processes_of_one_node_train_what_one_trains(wide_node):
    one = wide_node.succeed(wide_node.submit(trained(nodes=1)).job_id)
    two = wide_node.succeed(wide_node.submit(trained(nodes=1, resources={"processes": 2})).job_id)
    assert "; rank 0 of 2" in (wide_node.nodes[0].data / "attempts" / two.status.job_id / "1" / "log.txt").read_text()
    for name in ("train_accuracy", "validation_accuracy", "test_accuracy"):
        assert two.status.metrics[name] == pytest.approx(one.status.metrics[name], abs=0.02), name  # dropout draws otherwise
    refusal = wide_node.refusal(trained(nodes=1, resources={"processes": 3}))
    assert "the job needs 3 cores" in refusal.text()
    refusal = wide_node.refusal(job(device="cuda", resources={"processes": 2}))
    assert "only trainings on CPUs have several processes" in refusal.problem("$.resources.processes").message


def test_a_single_rank_cannot_share_its_optimizer(wide_node):
    place = "$.hyperparameters.shard_optimizer"
    problem = wide_node.refusal(trained(nodes=1, shard_optimizer="true")).problem(place)
    assert (problem.expected, problem.found) == ("a job of several ranks", "1 rank")
    problem = wide_node.refusal(job(sweep={"shard_optimizer": [False, True]})).problem(place)
    assert problem.message.startswith("member 1: has no effect")
    wide_node.succeed(wide_node.submit(trained(nodes=1, resources={"processes": 2}, shard_optimizer="true")).job_id)


def test_a_process_that_is_killed_is_a_crash_of_the_attempt(wide_node):
    job_id = wide_node.submit(trained(nodes=1, epochs=40, resources={"processes": 2})).job_id
    wide_node.wait(job_id, until=lambda s: s.HasField("checkpoint"))
    runners = wide_node.nodes[0].runners()
    assert len(runners) == 2
    os.kill(max(runners), signal.SIGKILL)  # the later one
    assert not wait_gone(runners, 10)
    done = wide_node.succeed(job_id, timeout=120)
    assert done.status.attempt == 2 and done.status.retries == 1
    assert "going on from a checkpoint" in (wide_node.nodes[0].data / "attempts" / job_id / "2" / "log.txt").read_text()
