"""GPUs of nodes: shares of one, whole ones, and what is told of them. No machine here has one: nodes declare them."""

import pytest

from cluster import BUILD, job
from fake_node import FakeNode
from cyxwiz.protocol import job_pb2

GIB = 1 << 30
QUEUED = job_pb2.JOB_STATE_QUEUED


def parts(message):
    return [(part.index, part.share_millis, part.memory_bytes) for part in message.gpus]


@pytest.fixture
def node(make_cluster):
    """A node of the test's own, with two GPUs of 80 GiB."""
    with FakeNode(make_cluster(lease_ms=60_000), gpus=[80 * GIB, 80 * GIB]) as node:
        yield node


def start(node, **resources):
    """A job with these resources; its assignment, once the node has it."""
    id = node.cluster.submit(job(resources={"cpus": 0.1, "memory": "1GiB", **resources})).job_id
    assignment = node.next_assignment()
    assert assignment.job.job_id == id
    return assignment


def test_the_server_chooses_one_gpu_for_a_share_and_keeps_to_it(node):
    cluster = node.cluster
    half = start(node, gpu_share=0.5)
    assert parts(half) == [(0, 500, 40 * GIB)]
    assert (half.resources.gpus, half.resources.gpu_share_millis) == (0, 500)
    assert half.job.resources.gpu_share_millis == 500
    memory = start(node, gpu_memory="30GiB")
    assert parts(memory) == [(0, 0, 30 * GIB)], "beside the first"
    large = start(node, gpu_share=0.6, gpu_memory="10GiB")
    assert parts(large) == [(1, 600, 10 * GIB)]

    waits = cluster.submit(job(resources={"cpus": 0.1, "memory": "1GiB", "gpu_share": 0.5, "gpu_memory": "20GiB"})).job_id
    (reason,) = cluster.status(waits).reasons
    assert reason.code == "NO_SINGLE_GPU"
    assert reason.message == ("needs 0.5 of one GPU with 20.0 GiB; 1 node has the rest free, but not that: the largest free "
                              "piece of a GPU is 0.5 with 10.0 GiB, of GPU 0 of node 'fake'")
    assert "0.5 of one GPU with 20.0 GiB" in cluster.cli("explain", waits).stdout

    # What is there to see.
    assert parts(cluster.status(large.job.job_id)) == [(1, 600, 10 * GIB)]
    assert "GPU 1: 0.6 with 10.0 GiB" in cluster.cli("status", large.job.job_id).stdout
    (seen,) = cluster.client().nodes()
    assert (seen.available.gpus, seen.available.gpu_share) == (0, 0.9) and seen.capacity.gpus == 2
    gpus = [device for device in seen.devices if device.type == "cuda"]
    assert [(d.gpu_index, d.free_share, d.free_memory) for d in gpus] == [(0, 0.5, 10 * GIB), (1, 0.4, 70 * GIB)]
    assert "0.9/2" in cluster.cli("nodes").stdout
    rows = [line.split() for line in cluster.cli("nodes", "--gpus").stdout.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [("fake", "0"), ("fake", "1")] and "0.4" in rows[1]
    shown = cluster.rest("GET", f"/api/v1/jobs/{large.job.job_id}")[2]["status"]
    assert shown["gpus"][0]["share_millis"] == 600, shown

    # A restart of the server changes nothing of that.
    running = [half, memory, large]
    for assignment in running:
        node.progress(assignment, 0.1)
    cluster.server.kill()
    cluster.start_server()
    node.register(active=[{"job_id": one.job.job_id, "attempt": one.attempt} for one in running])
    for assignment in running:
        assert parts(cluster.status(assignment.job.job_id)) == parts(assignment)
    assert cluster.status(waits).state == QUEUED
    whole = cluster.submit(job(resources={"cpus": 0.1, "memory": "1GiB", "gpus": 1})).job_id
    assert "a whole GPU" in cluster.status(whole).message
    node.complete(large)
    assert parts(node.next_assignment()) == [(1, 500, 20 * GIB)]
    node.complete(half)
    node.complete(memory)
    assignment = node.next_assignment()
    assert assignment.job.job_id == whole and parts(assignment) == [(0, 1000, 80 * GIB)]


def test_what_no_gpu_has_is_refused_with_numbers(node):
    def refusal(change=lambda resources: None, **resources):
        config = job(resources=resources)
        change(config.resources)
        return node.cluster.refusal(config)

    assert "the most memory of a GPU is 80.0 GiB" in refusal(gpu_share=0.5, gpu_memory="81GiB").text()
    for millis, found in ((1500, "1.5"), (-1, "-0.001")):
        problem = refusal(lambda r: setattr(r, "gpu_share_millis", millis)).problem("$.resources.gpu_share")
        assert (problem.expected, problem.found) == ("from 0 to 1", found)
    problem = refusal(lambda r: setattr(r, "gpus", 1), gpu_share=0.5).problem("$.resources.gpu_share")
    assert problem.found == "0.5 beside 1"
    assert refusal(lambda r: setattr(r, "gpu_memory_bytes", -1)).problem("$.resources.gpu_memory").found == "-1"
    assert refusal(gpu_share=0.5, nodes=2).problem("$.resources.nodes").expected == "1 for a job with a GPU"


def test_an_attempt_sees_its_gpus_and_no_others(make_cluster):
    cluster = make_cluster()
    runner = str(BUILD / "test" / "fake_runner")  # libtorch here has no CUDA
    cluster.add_node(runner=runner, arguments=["--declared-gpus", "8GiB", "--declared-gpus", "8GiB"])

    def start(**resources):
        id = cluster.submit(job(name="show-gpus", resources={"cpus": 0.1, "memory": "1GiB", **resources})).job_id
        cluster.wait(id, until=lambda status: status.state == job_pb2.JOB_STATE_RUNNING)
        return id

    first, second, whole, none = start(gpu_share=0.5), start(gpu_share=0.5), start(gpus=1), start()
    for id, visible in ((first, "0"), (second, "0"), (whole, "1"), (none, "")):
        log = cluster.cli("logs", id).stdout
        assert f"CUDA_VISIBLE_DEVICES={visible}\n" in log, log
    rows = [line.split() for line in cluster.cli("nodes", "--gpus").stdout.splitlines()[1:]]
    assert len(rows) == 2 and all("declared," in row and "not" in row for row in rows), "nobody has probed them"
    assert cluster.status(cluster.submit(job(name="hang", resources={"gpu_memory": "1GiB"})).job_id).state == QUEUED


def test_gpus_that_libtorch_cannot_use_are_not_offered(make_cluster):
    cluster = make_cluster()
    cluster.add_node(arguments=["--declared-gpus", "8GiB"])
    (seen,) = cluster.client().nodes()
    if any(device.type == "cuda" for device in seen.devices):
        pytest.skip("libtorch here can use GPUs")
    assert seen.capacity.gpus == 0
    assert "no registered node has a device of type CUDA" in cluster.refusal(job(resources={"gpus": 1})).text()
    assert "cannot use GPUs" in cluster.nodes[0].program.log()
