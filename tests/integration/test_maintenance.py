"""A node's maintenance window with the real programs."""

import time
from datetime import datetime, timedelta, timezone

from cluster import job, long_job
from cyxwiz.protocol import job_pb2


def test_a_window_begins_and_ends_by_itself(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node()
    client = cluster.client()
    begin = datetime.now(timezone.utc) + timedelta(seconds=4)
    shown = client.cordon(node.id, drain=True, reason="new disk", begin=begin, end=begin + timedelta(seconds=5))
    assert not shown.cordoned and shown.cordon_from == begin.replace(microsecond=0)
    id = cluster.submit(long_job()).job_id
    cluster.wait_running(id)
    cluster.wait(id, until=lambda s: s.state == job_pb2.JOB_STATE_QUEUED)
    assert time.time() >= begin.timestamp() - 1
    status = cluster.wait(id, until=lambda s: s.state == job_pb2.JOB_STATE_RUNNING and s.attempt == 2)
    assert status.retries == 0
    client.cancel(id)
    cluster.wait(id)
    cluster.succeed(cluster.submit(job()).job_id)
