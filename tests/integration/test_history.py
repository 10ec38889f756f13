"""The history of decisions: explain --at, export --history and replay, with the real programs."""

import datetime
import json
import subprocess
import time

import grpc
import pytest

from cluster import BIN, long_job
from cyxwiz.protocol import control_pb2, control_pb2_grpc


def tool(*arguments):
    return subprocess.run([str(BIN / "cyxwiz-central-server"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=60)


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_second_from_now():
    """Returns once a whole second of the clock has begun and a little of it is over."""
    second = int(time.time()) + 1
    while time.time() < second + 0.05:
        time.sleep(0.01)
    return second


@pytest.fixture
def waited(make_cluster):
    """A cluster in which `second` was not there yet, then waited for `first`, at the moments returned, and runs now."""
    cluster = make_cluster()
    cluster.add_node(cpus=2)
    cluster.wait_running(cluster.submit(long_job(job_id="first", resources={"cpus": 2})).job_id)
    before = whole_second_from_now()
    cluster.submit(long_job(job_id="second", user="ann", resources={"cpus": 2}))
    at = whole_second_from_now()
    live = json.loads(cluster.cli("explain", "second", "--json").stdout)
    cluster.client().cancel("first")
    cluster.wait_running("second")
    return cluster, before, at, live


def test_explain_tells_why_a_job_waited_though_it_runs_now(waited):
    cluster, _, at, live = waited
    assert json.loads(cluster.cli("explain", "second", "--json").stdout)["reasons"] == []
    then = json.loads(cluster.cli("explain", "second", "--at", moment(at), "--json").stdout)
    assert then["status"]["state"] == "JOB_STATE_QUEUED" and then["reasons"] == live["reasons"], (then, live)
    assert then["reasons"][0]["code"] == "NOT_ENOUGH_FREE"
    assert (then["queue_position"], then["jobs_queued"]) == (1, 1)
    text = cluster.cli("explain", "second", "--at", moment(at)).stdout
    assert text.startswith("Job second was Queued"), text
    assert cluster.rest("GET", f"/api/v1/jobs/second/explain?at={moment(at)}")[2]["reasons"] == live["reasons"]
    assert cluster.client().explain("second", at=at).reasons[0].code == "NOT_ENOUGH_FREE"
    assert cluster.client().explain("first", at=at).reasons == [], "it ran"


def test_moments_that_it_cannot_tell_of_are_errors_that_say_why(waited):
    cluster, before, at, _ = waited
    stub = control_pb2_grpc.JobControlServiceStub(cluster.channel)

    def refusal(job_id, seconds):
        with pytest.raises(grpc.RpcError) as error:
            stub.ExplainJob(control_pb2.ExplainJobRequest(job_id=job_id, at_ms=round(seconds * 1000)))
        return error.value.code(), error.value.details()

    code, text = refusal("second", time.time() + 3600)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "past" in text
    code, text = refusal("second", before - 3600)
    assert code == grpc.StatusCode.OUT_OF_RANGE and "begins at" in text
    code, text = refusal("second", before)
    assert code == grpc.StatusCode.NOT_FOUND and "second" in text
    code, text = refusal("none", at)
    assert code == grpc.StatusCode.NOT_FOUND and "none" in text
    assert cluster.rest("GET", "/api/v1/jobs/second/explain?at=yesterday")[0] == 400
    assert cluster.cli("explain", "second", "--at", "yesterday").returncode == 2


def test_the_history_goes_on_over_a_kill_and_is_replayed_with_the_same_decisions(waited, tmp_path):
    cluster, _, at, live = waited
    then = json.loads(cluster.cli("explain", "second", "--at", moment(at), "--json").stdout)
    assert then["reasons"] == live["reasons"], "what was asked about is written before the kill"
    cluster.server.kill()
    cluster.start_server()
    cluster.wait_running("second")
    then = json.loads(cluster.cli("explain", "second", "--at", moment(at), "--json").stdout)
    assert then["reasons"] == live["reasons"]
    cluster.client().cancel("second")
    cluster.wait("second")
    assert cluster.server.terminate() == 0
    done = tool("replay", cluster.data)
    assert done.returncode == 0 and "2 segments" in done.stdout, done
    folder = tmp_path / "exported"
    assert tool("export", "--data", cluster.data, "--history", folder).returncode == 0
    lines = [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
    changes = [(e["from"], e["to"]) for e in lines if e.get("job") == "second" and "from" in e]
    assert changes == [("Queued", "Assigned"), ("Assigned", "Running"), ("Running", "Cancelled")]
    assert tool("replay", folder).returncode == 0
    again = tool("export", "--data", cluster.data, "--history", folder)
    assert again.returncode == 1 and "not empty" in again.stderr, again

    # A segment ends where it is damaged.
    segment = sorted(folder.glob("*.history"))[0]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    damaged = tool("replay", folder)
    assert damaged.returncode == 0 and str(segment) in damaged.stdout, damaged
    segment.write_bytes(b"nothing")
    refused = tool("replay", segment)
    assert refused.returncode == 1 and str(segment) in refused.stderr, refused
    assert tool("replay", tmp_path).returncode == 1


def test_a_server_that_keeps_no_history_says_so(make_cluster):
    cluster = make_cluster(server_arguments=["--history-max-mb", "0"])
    id = cluster.submit(long_job()).job_id
    done = cluster.cli("explain", id, "--at", moment(time.time() - 1))
    assert done.returncode != 0 and "keeps no history" in done.stderr, done
    assert not (cluster.data / "history").exists()
