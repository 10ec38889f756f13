"""What becomes of jobs: they train, queue, are cancelled, crash, are retried, and survive restarts."""

import hashlib
import itertools
import json
import os
import signal
import threading
import time

import grpc
import pytest

from cluster import job, long_job, short_job, wait_gone
from cyxwiz.protocol import common_pb2, job_pb2, log_pb2, node_pb2

RUNNING, QUEUED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_QUEUED


# ---- success ----

def test_a_job_trains_and_leaves_a_verified_model(shared, tmp_path):
    response = shared.submit(job(name="model", hyperparameters={"epochs": "5"}))
    assert response.assigned_node_id == response.node_assignment.node_id == shared.nodes[0].id
    assert response.node_assignment.node_endpoint == shared.nodes[0].endpoint
    done = shared.succeed(response.job_id)
    status, result = done.status, done.result
    assert status.status == result.status == common_pb2.STATUS_COMPLETED
    assert status.progress == 1.0 and status.current_epoch == status.total_epochs == 5
    assert 0 < status.created_at <= status.start_time <= status.end_time
    assert {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "samples_per_second"} <= set(result.final_metrics)
    assert result.model_weights_uri == f"artifact://sha256/{result.model_weights_hash}"

    with shared.client() as client:
        paths = {p.name: p for p in client.download(response.job_id, tmp_path)}
    weights = paths["weights.safetensors"].read_bytes()
    assert hashlib.sha256(weights).hexdigest() == result.model_weights_hash
    assert len(weights) == result.model_size
    assert tensors(weights) == {"dense_1.weight": [10, 10], "dense_1.bias": [10]}
    assert b'"dense"' in paths["model.json"].read_bytes()


def tensors(data):
    """Names and shapes in a safetensors file, whose offsets must cover the data exactly."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    assert max(t["data_offsets"][1] for t in header.values()) == len(data) - 8 - length
    return {name: t["shape"] for name, t in header.items()}


def test_the_same_seed_gives_the_same_weights(shared):
    hashes = []
    for seed in ("1", "1", "2"):
        response = shared.submit(job(hyperparameters={"seed": seed}, layers=[
            {"type": "dense", "units": 32, "activation": "relu"}, {"type": "dropout", "rate": 0.2},
            {"type": "dense", "units": 10}]))
        hashes.append(shared.succeed(response.job_id).result.model_weights_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_progress_is_pushed_at_a_bounded_rate(shared):
    response = shared.submit(short_job(1.5))
    updates = list(shared.updates(response.job_id))
    assert updates[-1].state == job_pb2.JOB_STATE_SUCCEEDED
    progress = [u.progress for u in updates]
    assert progress == sorted(progress)
    seconds = max(1, updates[-1].end_time - updates[-1].start_time + 1)
    assert len(updates) <= 12 * seconds + 20, f"{len(updates)} updates in {seconds} s"


def test_epochs_of_no_length_do_not_make_more_progress_than_others(shared):
    response = shared.submit(job(dataset="mock://random_data?size=32&test_samples=0&features=4", hyperparameters={
        "epochs": "1000000", "batch_size": "32"}))
    shared.wait_running(response.job_id)
    begin = time.monotonic()
    updates = list(itertools.islice(shared.updates(response.job_id), 33))
    seconds = time.monotonic() - begin
    assert seconds >= 2.5, f"{len(updates)} updates within {seconds} s"
    shared.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id))
    shared.wait(response.job_id)


# ---- queueing ----

def test_several_jobs_run_at_once_up_to_the_capacity_and_others_say_why_they_wait(cluster):
    ids = [cluster.submit(long_job(resources={"cpu_millis": 1000, "memory_bytes": 1 << 30})).job_id for _ in range(3)]
    for job_id in ids[:2]:
        cluster.wait_running(job_id)
    status = cluster.status(ids[2])
    assert status.state == QUEUED and status.status == common_pb2.STATUS_PENDING
    assert [r.code for r in status.reasons] == ["NOT_ENOUGH_FREE"], status
    assert status.message and cluster.nodes[0].id in status.reasons[0].nodes
    assert len(cluster.nodes[0].runners()) == 2
    info = cluster.discovery.ListNodes(node_pb2.ListNodesRequest()).nodes[0]
    assert info.available.cpu_millis == 0 and {a.job_id for a in info.attempts} == set(ids[:2])
    # What becomes free goes to who waits.
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=ids[0]))
    cluster.wait_running(ids[2])


def test_the_higher_priority_goes_first_then_the_older(cluster):
    full = {"cpu_millis": 2000, "memory_bytes": 1 << 30}
    blocker = cluster.submit(long_job(resources=full)).job_id
    cluster.wait_running(blocker)
    ids = {name: cluster.submit(job(name=name, priority=priority, resources=full)).job_id
           for name, priority in (("low", "low"), ("old", "normal"), ("young", "normal"), ("critical", "critical"))}
    order, lock = [], threading.Lock()

    def follow(name):
        cluster.wait(ids[name], lambda s: s.attempt > 0)
        with lock:
            order.append((name, cluster.wait(ids[name]).attempt))

    threads = [threading.Thread(target=follow, args=(name,)) for name in ids]
    for thread in threads:
        thread.start()
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=blocker))
    for thread in threads:
        thread.join(60)
    # One at a time fits, so they ended in the order in which they started.
    assert [name for name, _ in order] == ["critical", "old", "young", "low"]


def test_a_job_submitted_before_any_node_starts_when_one_comes(make_cluster):
    cluster = make_cluster()
    response = cluster.submit(job())
    assert response.assigned_node_id == ""
    cluster.add_node()
    cluster.succeed(response.job_id)


# ---- cancelling ----

def test_cancel_a_queued_job(server_only):
    response = server_only.submit(job())
    answer = server_only.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id, reason="changed my mind"))
    assert answer.status == common_pb2.STATUS_SUCCESS and answer.state == job_pb2.JOB_STATE_CANCELLED
    status = server_only.status(response.job_id)
    assert status.state == job_pb2.JOB_STATE_CANCELLED and status.attempt == 0
    assert "changed my mind" in status.message


def test_cancel_a_running_job_ends_its_processes_first(shared):
    response = shared.submit(long_job())
    shared.wait_running(response.job_id)
    runners = shared.nodes[0].runners()
    assert runners
    shared.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id))
    status = shared.wait(response.job_id, timeout=6)
    assert status.state == job_pb2.JOB_STATE_CANCELLED and status.status == common_pb2.STATUS_CANCELLED
    assert not wait_gone(runners, 0), "the job was called cancelled while its processes lived"


def test_a_runner_that_does_not_stop_is_killed_within_5_s(make_cluster):
    cluster = make_cluster()
    cluster.add_node(env={"CYXWIZ_RUNNER_FAULT": "hang_on_stop"})
    response = cluster.submit(long_job())
    cluster.wait_running(response.job_id)
    runners = cluster.nodes[0].runners()
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id))
    assert cluster.wait(response.job_id, timeout=6).state == job_pb2.JOB_STATE_CANCELLED
    assert not wait_gone(runners, 0)


def test_cancelling_a_job_that_has_ended_changes_nothing(shared):
    response = shared.submit(job())
    shared.succeed(response.job_id)
    try:
        shared.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and error.details()
    assert shared.status(response.job_id).state == job_pb2.JOB_STATE_SUCCEEDED


def test_delete_forgets_a_job_that_has_ended_and_only_that(shared):
    running = shared.submit(long_job()).job_id
    with pytest.raises(grpc.RpcError) as caught:
        shared.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=running))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION and running in caught.value.details()
    shared.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=running))
    shared.wait(running)
    shared.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id=running))
    with pytest.raises(grpc.RpcError) as caught:
        shared.status(running)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


# ---- failures ----

def test_a_crashing_runner_is_retried_and_the_failure_tells_signal_and_log(make_cluster):
    cluster = make_cluster()
    cluster.add_node(env={"CYXWIZ_RUNNER_FAULT": "crash_after_step:3"})
    response = cluster.submit(job(max_retries=1))
    seen = list(cluster.updates(response.job_id))
    assert any("BACKOFF" in [r.code for r in s.reasons] for s in seen if s.state == QUEUED), "the wait between tries says why"
    status = seen[-1]
    assert status.state == job_pb2.JOB_STATE_FAILED
    assert (status.attempt, status.retries, status.cause) == (2, 1, job_pb2.CAUSE_RUNNER_CRASHED), status
    text = f"{status.error.message} {status.error.details}"
    assert "SIG" in text or "signal" in text, status
    log = b"".join(c.data for c in cluster.log_service.ReadLog(log_pb2.ReadLogRequest(job_id=response.job_id))).decode()
    last = [line for line in log.splitlines() if line.strip()][-1]
    assert last in text, "the error carries the last lines of the log"
    assert cluster.nodes[0].program.alive, "the node lives on"


def test_a_runner_that_uses_more_memory_than_it_was_given_says_so(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node()
    if cluster.discovery.ListNodes(node_pb2.ListNodesRequest()).nodes[0].limits != "cgroup":
        pytest.skip("this machine does not let nodes limit memory")
    status = cluster.wait(cluster.submit(job(
        dataset="mock://random_data?samples=20000&features=784", resources={"memory": "300MiB"}, max_retries=1,
        layers=[{"type": "dense", "units": 2048}, {"type": "dense", "units": 10}],
        hyperparameters={"batch_size": "20000", "epochs": "1"})).job_id)
    assert (status.state, status.cause, status.retries) == (job_pb2.JOB_STATE_FAILED, job_pb2.CAUSE_OUT_OF_MEMORY, 1), status
    assert "memory" in status.error.message, status
    assert node.program.alive


def test_other_jobs_do_not_notice_a_crash(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node()
    small = {"cpu_millis": 1000, "memory_bytes": 1 << 30}
    steady = cluster.submit(short_job(3, resources=small)).job_id
    cluster.wait_running(steady)
    before = set(node.runners())
    victim = cluster.submit(long_job(max_retries=0, resources=small)).job_id
    cluster.wait_running(victim)
    (runner,) = set(node.runners()) - before
    os.kill(runner, signal.SIGKILL)
    status = cluster.wait(victim)
    assert status.state == job_pb2.JOB_STATE_FAILED
    assert status.cause in (job_pb2.CAUSE_RUNNER_CRASHED, job_pb2.CAUSE_OUT_OF_MEMORY)
    assert "SIGKILL" in status.error.message or "signal 9" in status.error.message, status
    assert cluster.succeed(steady).status.attempt == 1


def test_an_error_of_the_users_is_never_retried(shared):
    # A learning rate so large that the loss must become infinite; nothing at submit can know.
    response = shared.submit(job(max_retries=5, layers=[{"type": "dense", "units": 64}, {"type": "dense", "units": 10}],
                                 hyperparameters={"optimizer": "sgd", "learning_rate": "1e30", "epochs": "5"}))
    status = shared.wait(response.job_id)
    assert status.state == job_pb2.JOB_STATE_FAILED, status
    assert (status.cause, status.attempt, status.retries) == (job_pb2.CAUSE_DIVERGED, 1, 0), status
    assert "loss" in status.error.message


# ---- logs ----

def test_the_log_tells_the_epochs_and_can_be_followed(shared):
    response = shared.submit(short_job(1.5))
    lines = []
    with shared.client() as client:
        lines = list(client.logs(response.job_id, follow=True))
        assert shared.status(response.job_id).state in (job_pb2.JOB_STATE_SUCCEEDED, RUNNING)
        shared.succeed(response.job_id)
        assert list(client.logs(response.job_id)) == lines, "read again, it is the same"
    assert any("epoch" in line for line in lines), lines


def test_a_log_is_read_from_an_offset(shared):
    response = shared.submit(job())
    shared.succeed(response.job_id)

    def read(offset):
        return b"".join(c.data for c in shared.log_service.ReadLog(log_pb2.ReadLogRequest(job_id=response.job_id, offset=offset)))

    whole = read(0)
    assert len(whole) > 10 and read(10) == whole[10:] and read(len(whole)) == b""


def test_the_last_lines_of_a_log_outlive_its_node(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node()
    good = cluster.submit(job()).job_id
    cluster.succeed(good)
    request = log_pb2.ReadLogRequest(job_id=good)
    whole = b"".join(c.data for c in cluster.log_service.ReadLog(request))
    node.kill()
    cluster.server.kill()
    cluster.start_server()
    (chunk,) = cluster.log_service.ReadLog(request)
    assert chunk.kept_by_server and chunk.data and chunk.offset == chunk.dropped
    assert whole[chunk.offset:] == chunk.data, "where it begins is told"
    request.offset = chunk.offset + 5
    (rest,) = cluster.log_service.ReadLog(request)
    assert rest.data == chunk.data[5:] and rest.dropped == 0
    read = cluster.cli("logs", good)
    assert read.stdout.encode() == chunk.data and "which the server has kept" in read.stderr, read.stderr


# ---- restarts ----

def test_a_restarted_server_adopts_the_running_attempt(cluster):
    response = cluster.submit(short_job(4))
    cluster.wait_running(response.job_id)
    runners = cluster.nodes[0].runners()
    cluster.server.kill()
    cluster.start_server()
    status = cluster.wait(response.job_id, lambda s: s.state == RUNNING)
    assert status.attempt == 1
    assert cluster.nodes[0].runners() == runners, "the same process goes on"
    done = cluster.succeed(response.job_id)
    assert done.status.attempt == 1 and done.status.retries == 0
    assert done.result.model_weights_hash


def test_a_job_that_ends_while_the_server_is_away_is_not_lost(cluster):
    response = cluster.submit(short_job(1.5))
    cluster.wait_running(response.job_id)
    runners = cluster.nodes[0].runners()
    cluster.server.kill()
    assert not wait_gone(runners, 30), "the runner goes on to its end without the server"
    cluster.start_server()
    done = cluster.succeed(response.job_id)
    assert done.status.attempt == 1 and done.result.model_weights_hash


def test_a_job_cancelled_by_a_server_that_is_killed_at_once_stays_cancelled(cluster):
    response = cluster.submit(long_job())
    cluster.wait_running(response.job_id)
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=response.job_id))
    cluster.server.kill()
    cluster.start_server()
    assert cluster.wait(response.job_id).state == job_pb2.JOB_STATE_CANCELLED
    assert not wait_gone(cluster.nodes[0].runners(), 5)


def test_a_killed_node_finishes_its_job_when_it_is_back(make_cluster):
    cluster = make_cluster(lease_ms=60_000)  # so long that only the node's return can free the job
    node = cluster.add_node()
    response = cluster.submit(short_job(1.5))
    cluster.wait_running(response.job_id)
    node.kill()
    node.start()
    done = cluster.succeed(response.job_id)
    assert done.status.attempt == 2 and done.status.retries == 0, "a lost node is not the job's failure"
    assert done.status.current_node_id == node.id, "it is still the same node"


@pytest.mark.parametrize("place", ["node.upload.after", "node.completion.before", "node.completion.after"])
def test_what_ended_before_its_node_was_killed_is_not_done_again(make_cluster, place):
    cluster = make_cluster(lease_ms=60_000)
    node = cluster.add_node(env={"CYXWIZ_FAILPOINT": f"{place}:1"})
    response = cluster.submit(job())
    assert node.program.process.wait(30) == -signal.SIGKILL
    node.env = {}
    node.start()
    done = cluster.succeed(response.job_id)
    assert done.status.attempt == 1 and done.result.artifacts


def test_jobs_of_nodes_that_went_together_wait_for_them(make_cluster):
    cluster = make_cluster(lease_ms=2000, heartbeat_interval_ms=200)
    nodes = [cluster.add_node(cpus=1) for _ in range(4)]
    ids = [cluster.submit(long_job(resources={"cpus": 1})).job_id for _ in nodes]
    on = {cluster.wait_running(id).current_node_id: id for id in ids}
    for node in nodes[1:]:
        node.program.process.kill()
    waiting = on[nodes[1].id]
    status = cluster.wait(waiting, until=lambda s: s.state == job_pb2.JOB_STATE_QUEUED, timeout=20)
    assert "3 of 4 nodes were lost at once" in status.message, status.message
    explained = json.loads(cluster.cli("explain", waiting, "--json").stdout)
    assert explained["reasons"][0]["code"] == "MASS_LOSS"
    assert "cyxwiz_mass_loss 1" in cluster.rest("GET", "/metrics")[2]
    assert "were lost at once" in cluster.cli("events").stdout
    assert "were lost at once" in cluster.server.log()
    for node in nodes[1:]:
        node.start()
    for id in ids:
        assert cluster.wait_running(id).retries == 0
    assert "cyxwiz_mass_loss 0" in cluster.rest("GET", "/metrics")[2]


def test_another_node_finishes_the_job_of_a_killed_one(make_cluster):
    cluster = make_cluster(lease_ms=2000, heartbeat_interval_ms=200)
    nodes = {node.id: node for node in (cluster.add_node(), cluster.add_node())}
    response = cluster.submit(short_job(1.5))
    first = nodes.pop(cluster.wait_running(response.job_id).current_node_id)
    first.kill()
    done = cluster.succeed(response.job_id)
    assert done.status.attempt == 2 and [done.status.current_node_id] == list(nodes)


def test_a_node_that_is_stopped_in_order_gives_its_job_back_at_once(make_cluster):
    cluster = make_cluster(lease_ms=60_000)
    first = cluster.add_node()
    response = cluster.submit(long_job())
    cluster.wait_running(response.job_id)
    second = cluster.add_node()
    assert first.terminate() == 0
    status = cluster.wait(response.job_id, until=lambda s: s.state == job_pb2.JOB_STATE_RUNNING and s.attempt == 2, timeout=30)
    assert status.current_node_id == second.id and status.retries == 0


def test_the_metrics_survive_a_restart(cluster):
    response = cluster.submit(job(name="kept"))
    before = cluster.succeed(response.job_id)
    cluster.server.kill()
    cluster.start_server()
    grpc.channel_ready_future(cluster.channel).result(10)
    after = cluster.get(response.job_id)
    assert after.status == before.status and after.result == before.result
