"""Running jobs make room for one of a higher class, and quotas, with the real programs."""

from cluster import job, long_job
from cyxwiz.protocol import job_pb2


def test_a_low_job_writes_a_checkpoint_makes_room_and_goes_on(make_cluster):
    cluster = make_cluster(server_arguments=["--scheduling-preemption-on", "--scheduling-preemption-min-run-s", "0"])
    cluster.add_node(cpus=1)
    low = cluster.submit(long_job(priority="low")).job_id
    cluster.wait_running(low)
    high = cluster.submit(job(priority="high")).job_id
    cluster.succeed(high)
    status = cluster.wait(low, until=lambda s: s.attempt == 2 and s.state == job_pb2.JOB_STATE_RUNNING)
    assert status.preemptions == 1 and status.retries == 0
    assert "resumed from" in status.message, "it goes on from the checkpoint"
    cluster.client().cancel(low)
    cluster.wait(low)


def test_a_quota_holds_back_with_its_numbers(make_cluster):
    cluster = make_cluster(server_arguments=["--scheduling-quotas", "project:vision cpus=1 borrow=no"])
    cluster.add_node(cpus=2)
    first = cluster.submit(long_job(project="vision")).job_id
    cluster.wait_running(first)
    second = cluster.submit(long_job(project="vision")).job_id
    reason = cluster.status(second).reasons[0]
    assert reason.code == "QUOTA_EXCEEDED"
    assert reason.message == "project 'vision' holds 1 core of a quota of 1 core, and this needs 1 core"
    cluster.client().cancel(first)
    cluster.wait_running(second)
    refusal = cluster.refusal(job(project="vision", resources={"cpus": 2}))
    assert "the quota of project 'vision' is 1 core" in refusal.text()
    cluster.client().cancel(second)
    cluster.wait(second)
