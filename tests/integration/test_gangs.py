"""Jobs on several nodes at once: real server and nodes, and a runner that speaks the protocol and does what the job's name says."""

import json
import re

import pytest

from cluster import BIN, job
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


def test_nodes_whose_runner_trains_alone_take_no_ranks(shared):
    refusal = shared.refusal(gang("two"))
    assert "the job needs 2 nodes at once, and no registered node takes ranks of gangs" in refusal.text()


def test_more_ranks_than_nodes_are_refused_with_the_numbers(fleet):
    refusal = fleet.refusal(gang("many", nodes=3))
    assert re.search("needs 3 nodes with 1 core, .* each, and of 2 registered 2 can hold that", refusal.text()), refusal.text()
    assert "$.resources.nodes" in fleet.refusal(gang("far too many", nodes=65)).text()


def test_ranks_meet_and_the_result_is_that_of_rank_0(fleet):
    job_id = fleet.submit(gang("succeed")).job_id
    done = fleet.succeed(job_id)
    assert [artifact.name for artifact in done.result.artifacts] == ["weights.safetensors", "model.json"]
    places = [place_of(node, job_id) for node in fleet.nodes]
    assert sorted(place["rank"] for place in places) == [0, 1]
    assert {place["size"] for place in places} == {2}
    assert len({(place["host"], place["port"], place["secret"]) for place in places}) == 1
    assert 29500 <= places[0]["port"] <= 29599 and len(places[0]["secret"]) == 64
    other = fleet.submit(gang("succeed")).job_id
    fleet.succeed(other)
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
