"""The REST side: every route, JSON names as in the protos, errors as RFC 9457."""

import http.client
import json

import pytest

from cluster import long_job, short_job
from cyxwiz.protocol import job_pb2
from google.protobuf import json_format

JOB = {"name": "by rest", "model_definition": json.dumps({"layers": [{"type": "dense", "units": 10}]}),
       "hyperparameters": {"epochs": "2", "learning_rate": "0.01"}, "dataset_uri": "mock://random_data", "priority": "PRIORITY_NORMAL"}


def test_health_and_readiness(shared):
    assert shared.rest("GET", "/healthz")[0] == 200
    assert shared.rest("GET", "/readyz")[0] == 200


def test_metrics_in_prometheus_form(shared):
    status, headers, text = shared.rest("GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert any(line.startswith("cyxwiz_") for line in samples), text
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in samples)}
    # The node's registration, at least, was a command and was committed.
    for part in ("queue", "apply", "commit"):
        assert values[f"cyxwiz_core_{part}_seconds_count"] >= 1
        assert values[f"cyxwiz_core_{part}_seconds_sum"] > 0


def test_metrics_tell_why_jobs_wait(make_cluster):
    cluster = make_cluster()
    for _ in range(3):
        assert cluster.rest("POST", "/api/v1/jobs", JOB)[0] == 201
    text = cluster.rest("GET", "/metrics")[2]
    assert 'cyxwiz_jobs_waiting{reason="NO_NODES"} 3\n' in text, text


def test_submit_get_list_and_cancel(shared):
    status, headers, answer = shared.rest("POST", "/api/v1/jobs", JOB)
    assert status in (200, 201, 202), answer
    job_id = answer["job_id"]
    assert answer["assigned_node_id"] == shared.nodes[0].id
    shared.succeed(job_id)
    status, _, got = shared.rest("GET", f"/api/v1/jobs/{job_id}")
    assert status == 200
    assert got["status"]["state"] == "JOB_STATE_SUCCEEDED" and got["status"]["name"] == "by rest"
    assert len(got["result"]["model_weights_hash"]) == 64
    # The names are the protos': the answer is one of the wire's own messages.
    json_format.ParseDict(got, job_pb2.GetJobStatusResponse())
    status, _, listed = shared.rest("GET", "/api/v1/jobs?page_size=5")
    assert status == 200 and job_id in [j["job_id"] for j in listed["jobs"]]

    running = shared.submit(long_job()).job_id
    status, _, answer = shared.rest("POST", f"/api/v1/jobs/{running}/cancel", {"reason": "by rest"})
    assert status in (200, 202), answer
    assert shared.wait(running).state == job_pb2.JOB_STATE_CANCELLED


def test_pages(shared):
    for _ in range(3):
        shared.succeed(shared.rest("POST", "/api/v1/jobs", JOB)[2]["job_id"])
    first = shared.rest("GET", "/api/v1/jobs?page_size=2")[2]
    assert len(first["jobs"]) == 2 and first["next_page_token"]
    second = shared.rest("GET", f"/api/v1/jobs?page_size=2&page_token={first['next_page_token']}")[2]
    assert not {j["job_id"] for j in first["jobs"]} & {j["job_id"] for j in second["jobs"]}
    status, headers, problem = shared.rest("GET", "/api/v1/jobs?page_size=-1")
    assert status == 400 and headers["Content-Type"].startswith("application/problem+json")
    assert "page_size" in problem["detail"] and problem["status"] == 400 and problem["title"] and "type" in problem


def test_a_refused_job_lists_its_problems(shared):
    status, headers, problem = shared.rest("POST", "/api/v1/jobs", {
        **JOB, "hyperparameters": {"learning_rate": "abc", "epochs": "0"}})
    assert status in (400, 422) and headers["Content-Type"].startswith("application/problem+json")
    assert {p["path"] for p in problem["problems"]} == {"$.hyperparameters.learning_rate", "$.hyperparameters.epochs"}


@pytest.mark.parametrize("body", ["{", "[]", '{"nme": "x"}', '{"epochs": "many"}'])
def test_a_body_that_is_no_job(shared, body):
    status, headers, problem = shared.rest("POST", "/api/v1/jobs", body)
    assert status == 400 and headers["Content-Type"].startswith("application/problem+json") and problem["detail"], problem


def test_nodes(shared):
    node = shared.nodes[0]
    status, _, listed = shared.rest("GET", "/api/v1/nodes")
    assert status == 200 and [n["node_id"] for n in listed["nodes"]] == [node.id]
    status, _, got = shared.rest("GET", f"/api/v1/nodes/{node.id}")
    assert status == 200 and got["info"]["endpoint"] == node.endpoint
    status, _, problem = shared.rest("GET", "/api/v1/nodes/nope")
    assert status == 404 and "nope" in problem["detail"]


def test_unknown_routes_and_methods(shared):
    status, headers, problem = shared.rest("GET", "/api/v1/nothing")
    assert status == 404 and headers["Content-Type"].startswith("application/problem+json") and problem["status"] == 404
    status, headers, _ = shared.rest("DELETE", "/healthz")
    assert status == 405 and "GET" in headers["Allow"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_a_page_from_elsewhere_cannot_drive_it(shared, headers):
    status, _, problem = shared.rest("POST", "/api/v1/jobs", JOB, headers)
    assert status in (403, 421), problem


def events(cluster, job_id, timeout=60):
    """The server-sent events of a job as (event, data) until the server ends the stream."""
    return streamed(cluster, f"/api/v1/jobs/{job_id}/events", timeout=timeout)


def streamed(cluster, path, headers=None, timeout=60):
    connection = http.client.HTTPConnection(cluster._rest, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Accept": "text/event-stream", **(headers or {})})
        response = connection.getresponse()
        assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
        event, data = "message", []
        for line in response:
            line = line.decode().rstrip("\r\n")
            if line.startswith("event:"):
                event = line[6:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].strip())
            elif not line and data:
                yield event, json.loads("\n".join(data))
                event, data = "message", []
    finally:
        connection.close()


def test_events_follow_a_job_to_its_end(shared):
    job_id = shared.submit(short_job(1)).job_id
    seen = [data for _, data in events(shared, job_id) if "status" in data]
    states = [data["status"]["state"] for data in seen]
    assert states[-1] == "JOB_STATE_SUCCEEDED" and "JOB_STATE_RUNNING" in states
    assert len(seen) > 3, "progress comes too"
    assert seen[-1]["job_id"] == job_id


def test_events_of_a_job_that_has_ended_tell_its_end(shared):
    job_id = shared.submit(short_job(0.3)).job_id
    shared.succeed(job_id)
    assert [d["status"]["state"] for _, d in events(shared, job_id)][-1] == "JOB_STATE_SUCCEEDED"


def test_what_happens_is_streamed_and_goes_on_after_the_last_event_that_was_seen(shared):
    job_id = shared.submit(short_job(0.3)).job_id
    seen = []
    for kind, event in streamed(shared, f"/api/v1/events/stream?job_id={job_id}"):
        assert kind == "event" and event["job_id"] == job_id
        seen.append(event)
        if event["to"] == "JOB_STATE_SUCCEEDED":
            break
    assert [e["kind"] for e in seen[:2]] == ["EVENT_SUBMITTED", "EVENT_STATE_CHANGED"]
    again = streamed(shared, f"/api/v1/events/stream?job_id={job_id}", {"Last-Event-ID": str(seen[0]["number"])})
    assert [next(again)[1] for _ in seen[1:]] == seen[1:]
    again.close()
    for path, status in (("?job_id=nope", 404), ("?after=-1", 400), ("?after=x", 400), ("?page_size=3", 400)):
        answer = shared.rest("GET", "/api/v1/events/stream" + path)
        assert answer[0] == status and answer[2]["detail"], answer


def test_many_jobs_are_cancelled_by_a_filter(make_cluster):
    cluster = make_cluster()
    ids = [cluster.submit(long_job(user="ann" if i % 2 else "bob")).job_id for i in range(4)]
    status, _, problem = cluster.rest("POST", "/api/v1/jobs/cancel", {})
    assert status == 400 and "every job" in problem["detail"], problem
    status, _, problem = cluster.rest("POST", "/api/v1/jobs/cancel", {"user": "ann"})
    assert status == 400 and "user" in problem["detail"], problem
    assert cluster.rest("POST", "/api/v1/jobs/cancel", {"user_id": "ann", "reason": "lunch"})[2] == {
        "cancelled": 2, "cancelling": 0}
    states = [cluster.status(id).state for id in ids]
    assert states == [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_CANCELLED] * 2
    assert cluster.rest("POST", "/api/v1/jobs/cancel", {"all": True})[2]["cancelled"] == 2
