"""Clients that follow badly: streams opened by the thousand and left, and one that never reads."""

import re
from pathlib import Path

import grpc
import pytest

from cluster import job
from cyxwiz.protocol import control_pb2, control_pb2_grpc, job_pb2, job_pb2_grpc

MOST_STREAMS = 10_000  # docs/reference/configuration.md
MIB = 1 << 20


def resident(program) -> int:
    return int(re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{program.pid}/status").read_text())[1]) * 1024


def channels(address, count):
    # Each with a connection of its own, as different clients have.
    return [grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(count)]


def test_ten_thousand_abandoned_streams_cost_bounded_memory_and_no_service(make_cluster):
    cluster = make_cluster()
    id = cluster.submit(job()).job_id
    before = resident(cluster.server)
    left = channels(cluster.address, 20)
    calls = [job_pb2_grpc.JobServiceStub(left[i % 20]).StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id=id))
             for i in range(MOST_STREAMS)]
    for call in calls[-20:]:  # of each connection the newest one is served, so the others are too
        assert next(call).job_id == id
    with pytest.raises(grpc.RpcError) as error:
        next(job_pb2_grpc.JobServiceStub(cluster.channel).StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id=id)))
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "streams" in error.value.details()
    used = resident(cluster.server) - before
    assert used < 50 * 1024 * MOST_STREAMS, f"{used / MIB:.0f} MiB for {MOST_STREAMS} streams"
    # Everything else goes on.
    other = cluster.submit(job()).job_id
    assert cluster.status(other).state == job_pb2.JOB_STATE_QUEUED

    for channel in left:
        channel.close()
    # Once the server has noticed, there is room for others.
    following = job_pb2_grpc.JobServiceStub(cluster.channel)

    def first():
        return next(following.StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id=id), timeout=10))

    for _ in range(1000):  # each answered by the server; it has had 10,000 to clear away
        try:
            assert first().job_id == id
            break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    else:
        pytest.fail("abandoned streams still count")


def test_a_client_that_never_reads_is_let_go_with_a_reason(make_cluster):
    cluster = make_cluster()
    jobs = 12_000  # an event each, beyond the 10,000 that the server keeps and what lies in the connection
    pending = [cluster.jobs.SubmitJob.future(job_pb2.SubmitJobRequest(config=job())) for _ in range(jobs)]
    for one in pending:
        one.result()
    deaf, = channels(cluster.address, 1)
    control = control_pb2_grpc.JobControlServiceStub
    call = control(deaf).FollowEvents(control_pb2.ListEventsRequest())
    cancelled = control(cluster.channel).CancelJobs(control_pb2.CancelJobsRequest(all=True, reason="x" * 1000)).cancelled
    assert cancelled == jobs
    numbers = []
    with pytest.raises(grpc.RpcError) as error:
        for event in call:
            numbers.append(event.number)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "as `after`" in error.value.details(), "what to do"
    assert numbers == sorted(set(numbers))
    # Nothing is lost to one that asks again from where it stood.
    for event in control(deaf).FollowEvents(control_pb2.ListEventsRequest(after=numbers[-1] if numbers else 0)):
        numbers.append(event.number)
        if len(numbers) == 2 * jobs:
            break
    assert numbers == sorted(set(numbers))
    deaf.close()
