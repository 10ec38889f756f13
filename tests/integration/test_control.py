"""Operating jobs and nodes: pause, resume, priority, retry, bulk cancel, explain, plan, events, cordon and drain."""

import getpass
import json
import os
import pwd
import threading
from pathlib import Path

import cyxwiz
import grpc
import pytest

from cluster import job, long_job, short_job
from cyxwiz.protocol import control_pb2, control_pb2_grpc, job_pb2

JOB = {"model": {"layers": [{"type": "dense", "units": 10}]}, "dataset": "mock://random_data"}
PAUSED, QUEUED, RUNNING = job_pb2.JOB_STATE_PAUSED, job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING


@pytest.fixture
def control(shared):
    return control_pb2_grpc.JobControlServiceStub(shared.channel)


def test_pause_and_resume_a_running_job(shared, control):
    id = shared.submit(long_job()).job_id
    shared.wait_running(id)
    control.PauseJob(control_pb2.PauseJobRequest(job_id=id))
    status = shared.wait(id, until=lambda s: s.state == PAUSED, timeout=10)
    assert "resumed" in status.message
    control.ResumeJob(control_pb2.ResumeJobRequest(job_id=id))
    status = shared.wait(id, until=lambda s: s.state == RUNNING)
    assert status.attempt == 2 and status.retries == 0
    shared.client().cancel(id)
    shared.wait(id)


def test_a_paused_job_survives_a_restart_of_the_server(make_cluster):
    cluster = make_cluster()
    stub = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    id = cluster.submit(job()).job_id
    assert stub.PauseJob(control_pb2.PauseJobRequest(job_id=id)).status.state == PAUSED
    cluster.server.kill()
    cluster.start_server()
    assert cluster.status(id).state == PAUSED


def test_retry_a_failed_job(shared, control):
    id = shared.submit(long_job()).job_id
    with pytest.raises(grpc.RpcError) as error:
        control.RetryJob(control_pb2.RetryJobRequest(job_id=id))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    shared.client().cancel(id)
    shared.wait(id)
    again = control.RetryJob(control_pb2.RetryJobRequest(job_id=id, new_job_id="again-" + id)).status
    assert again.job_id == "again-" + id
    shared.wait_running(again.job_id)
    shared.client().cancel(again.job_id)
    shared.wait(again.job_id)
    assert shared.status(id).state == job_pb2.JOB_STATE_CANCELLED, "final states never change"


def test_bulk_cancel_needs_a_filter_and_cancels_in_one_go(make_cluster):
    cluster = make_cluster()
    stub = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    ids = [cluster.submit(job(user_id="ada" if i % 2 else "bob")).job_id for i in range(10)]
    with pytest.raises(grpc.RpcError) as error:
        stub.CancelJobs(control_pb2.CancelJobsRequest())
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert stub.CancelJobs(control_pb2.CancelJobsRequest(user_id="ada", reason="lunch")).cancelled == 5
    assert [cluster.status(i).state for i in ids].count(job_pb2.JOB_STATE_CANCELLED) == 5
    assert "lunch" in cluster.status(ids[1]).message
    done = cluster.cli("cancel", "--all", "--json")
    assert json.loads(done.stdout)["cancelled"] == 5, done


def test_bulk_cancel_takes_a_project_and_a_type_in_every_form(make_cluster):
    cluster = make_cluster()

    def submit(project):
        return cluster.submit(job(project=project)).job_id

    vision, speech, none = submit("vision"), submit("speech"), submit("")
    client = cluster.client()
    assert client.cancel_jobs(project="vision", type="inference") == 0
    assert client.cancel_jobs(project="vision", type="training") == 1
    with pytest.raises(ValueError, match="expected training"):
        client.cancel_jobs(type="guessing")
    done = cluster.cli("cancel", "--project", "speech", "--type", "training", "--json")
    assert json.loads(done.stdout)["cancelled"] == 1, done
    assert [cluster.status(i).state for i in (vision, speech, none)] == 2 * [job_pb2.JOB_STATE_CANCELLED] + [QUEUED]
    status, _, answer = cluster.rest("POST", "/api/v1/jobs/cancel", {"project": "nobody's"})
    assert status == 200 and answer["cancelled"] == 0
    assert cluster.rest("POST", "/api/v1/jobs/cancel", {"job_type": "JOB_TYPE_TRAINING"})[2]["cancelled"] == 1


def test_bulk_cancel_of_many_jobs_survives_a_kill(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node(cpus=1)
    running = cluster.submit(long_job(resources={"cpus": 1, "memory": "500MiB"})).job_id
    cluster.wait_running(running)
    calls = [cluster.jobs.SubmitJob.future(job_pb2.SubmitJobRequest(config=long_job(user_id="ada")))
             for _ in range(3000)]
    waiting = [call.result().job_id for call in calls]
    stub = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    asked = stub.CancelJobs.future(control_pb2.CancelJobsRequest(user_id="ada", reason="lunch"), timeout=60)
    cluster.wait(waiting[0])  # the request is stored
    cluster.server.kill()
    cluster.start_server()
    del asked  # nobody answers it any more
    last = cluster.wait(waiting[-1], timeout=30)
    assert last.state == job_pb2.JOB_STATE_CANCELLED and last.cause == job_pb2.CAUSE_CANCELLED
    assert {cluster.status(id).attempt for id in waiting[::100]} == {0}, "none of them has started"
    status = cluster.status(running)
    assert status.state == RUNNING and status.attempt == 1 and status.current_node_id == node.id


def test_events_say_who(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node()
    id = cluster.submit(long_job(user_id="ann")).job_id
    cluster.wait_running(id)
    stub = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    stub.SetJobPriority(control_pb2.SetJobPriorityRequest(job_id=id, priority=job_pb2.PRIORITY_HIGH),
                        metadata=[("cyxwiz-user", "bob")])
    assert cluster.rest("POST", f"/api/v1/jobs/{id}/cancel", headers={"Cyxwiz-User": "eve"})[0] == 200
    cluster.wait(id)
    events = list(cluster.client().events(id))
    assert [event.actor for event in events[:5]] == ["client:ann", "server:scheduler", f"node:{node.id}",
                                                     "client:bob@127.0.0.1", "client:eve@127.0.0.1"]
    assert cluster.cli("cordon", node.id).returncode == 0
    assert f"(client:{pwd.getpwuid(os.geteuid()).pw_name}@127.0.0.1)" in cluster.cli("events", "--node", node.id).stdout
    cluster.client().uncordon(node.id)
    assert list(cluster.client().events(node=node.id))[-1].actor == f"client:{getpass.getuser()}@127.0.0.1"


def test_priority_moves_a_job_ahead_and_explain_tells_the_place(make_cluster):
    cluster = make_cluster()
    first, second = (cluster.submit(job()).job_id for _ in range(2))
    plan = json.loads(cluster.cli("explain", second, "--json").stdout)
    assert plan["queue_position"] == 2 and plan["jobs_queued"] == 2
    assert plan["reasons"][0]["code"] == "NO_NODES" and plan["smallest_change"]
    assert cluster.cli("priority", second, "high").returncode == 0
    assert json.loads(cluster.cli("explain", second, "--json").stdout)["queue_position"] == 1
    assert cluster.rest("GET", f"/api/v1/jobs/{first}/explain")[2]["queue_position"] == 2
    supposed = json.loads(cluster.cli("explain", first, "--what-if", "nodes=+2,cpus=4,memory=8GiB", "--json").stdout)
    assert supposed["node_id"].startswith("what-if-")
    assert cluster.status(first).state == QUEUED


def test_every_form_supposes_nodes_and_plans(shared, job_file):
    # Where only cores are said a supposed node has the memory of the largest.
    wide = {"resources": {"cpus": 600}}
    large = json.loads(shared.cli("plan", job_file(**wide), "--what-if", "cpus=600", "--json").stdout)
    assert large["could_ever_run"] and large["node_id"] == "what-if-1", large
    content = json.loads(Path(job_file(**wide)).read_text())
    status, _, planned = shared.rest("POST", "/api/v1/jobs/plan?what_if=nodes=%2B1,cpus=600", content)
    assert status == 200 and planned["node_id"] == "what-if-1", planned
    assert not shared.rest("POST", "/api/v1/jobs/plan", content)[2]["could_ever_run"]
    client = shared.client()
    assert client.plan(content, what_if={"cpus": 600}).node_id == "what-if-1"
    status, _, refused = shared.rest("POST", "/api/v1/jobs/plan", {**content, "after": ["nobody"]})
    assert status == 404 and "'nobody'" in refused["detail"]
    waiting = shared.submit(long_job(resources={"cpus": 2})).job_id, shared.submit(long_job(resources={"cpus": 2})).job_id
    try:
        assert client.explain(waiting[1], what_if={"nodes": 1}).node_id == "what-if-1"
        explained = shared.rest("GET", f"/api/v1/jobs/{waiting[1]}/explain?what_if=nodes=1")[2]
        assert explained["node_id"] == "what-if-1"
        status = shared.rest("GET", f"/api/v1/jobs/{waiting[1]}")[2]["status"]
        assert status["queue_position"] == 1 and "free" in status["smallest_change"]
        text = shared.cli("status", waiting[1]).stdout
        assert "Place" in text and "Would start" in text
    finally:
        for id in waiting:
            client.cancel(id)
            shared.wait(id)


def test_plan_changes_nothing(shared, job_file):
    before = shared.jobs.ListJobs(job_pb2.ListJobsRequest()).total_count
    done = shared.cli("plan", job_file(), "--json")
    plan = json.loads(done.stdout)
    assert done.returncode == 0 and plan["node_id"] == shared.nodes[0].id and plan["could_ever_run"], plan
    large = json.loads(shared.cli("plan", job_file(resources={"cpus": 512}), "--json").stdout)
    assert not large["could_ever_run"] and large["reasons"][0]["code"] == "TOO_LARGE"
    assert shared.cli("plan", job_file(modle={})).returncode == 4
    assert shared.jobs.ListJobs(job_pb2.ListJobsRequest()).total_count == before


def test_events_tell_a_life_and_can_be_followed_from_a_position(shared, control):
    id = shared.submit(short_job(0.2)).job_id
    shared.succeed(id)
    events = control.ListEvents(control_pb2.ListEventsRequest(job_id=id)).events
    states = [(e.to) for e in events if e.kind in (control_pb2.EVENT_SUBMITTED, control_pb2.EVENT_STATE_CHANGED)]
    assert states == [QUEUED, job_pb2.JOB_STATE_ASSIGNED, RUNNING, job_pb2.JOB_STATE_SUCCEEDED]
    assert [e.number for e in events] == sorted(e.number for e in events)
    stream = control.FollowEvents(control_pb2.ListEventsRequest(job_id=id, after=events[1].number), timeout=20)
    assert [next(stream) for _ in range(2)] == list(events[2:])
    stream.cancel()
    text = shared.cli("events", id).stdout
    assert "submitted" in text and "attempt 1" in text
    page = shared.rest("GET", f"/api/v1/events?job_id={id}&page_size=2")[2]
    assert len(page["events"]) == 2 and page["next_after"] == events[1].number


def test_a_follower_of_everything_misses_nothing(shared, control):
    seen, ids = [], []
    start = control.ListEvents(control_pb2.ListEventsRequest(page_size=1000)).events[-1].number
    stream = control.FollowEvents(control_pb2.ListEventsRequest(after=start), timeout=60)

    def follow():
        for event in stream:
            seen.append(event)
            if len({e.job_id for e in seen if e.to == job_pb2.JOB_STATE_SUCCEEDED}) == 5:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(5):
        ids.append(shared.submit(job()).job_id)
    thread.join(60)
    stream.cancel()
    numbers = [e.number for e in seen]
    assert numbers == sorted(set(numbers))
    for id in ids:
        assert [e.to for e in seen if e.job_id == id][0] == QUEUED


def test_drain_gives_jobs_to_another_node_and_uncordon_undoes_it(make_cluster):
    cluster = make_cluster()
    first = cluster.add_node()
    id = cluster.submit(long_job()).job_id
    cluster.wait_running(id)
    second = cluster.add_node()
    done = cluster.cli("drain", first.id, "--reason", "kernel update", "--json")
    assert json.loads(done.stdout)["draining"], done
    status = cluster.wait(id, until=lambda s: s.state == RUNNING and s.attempt == 2)
    assert status.current_node_id == second.id and status.retries == 0
    assert cluster.cli("cordon", second.id).returncode == 0
    waiting = cluster.submit(job()).job_id
    assert [r.code for r in cluster.status(waiting).reasons] == ["NODES_CORDONED"]
    assert cluster.cli("uncordon", first.id).returncode == 0
    cluster.succeed(waiting)
    assert cluster.cli("drain", "nope").returncode == 3


def test_a_node_is_drained_and_uncordoned_by_rest(make_cluster):
    cluster = make_cluster()
    node = cluster.add_node().id
    status, _, answer = cluster.rest("POST", f"/api/v1/nodes/{node}/cordon", {"drain": True, "reason": "new disk"})
    assert status == 200 and answer["info"]["draining"] and answer["info"]["cordon_reason"] == "new disk"
    assert not cluster.rest("POST", f"/api/v1/nodes/{node}/uncordon")[2]["info"]["cordoned"]
    assert cluster.rest("POST", "/api/v1/nodes/nope/cordon")[0] == 404


def test_the_python_client_operates_jobs(shared):
    client = shared.client()
    job_id = client.submit(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data").job_id
    client.wait(job_id)
    kinds = [event.kind for event in client.events(job_id)]
    assert kinds[0] is cyxwiz.EventKind.SUBMITTED and len(kinds) == 4
    plan = client.plan(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data")
    assert plan.could_ever_run and plan.node_id == shared.nodes[0].id
    assert client.cordon(shared.nodes[0].id, reason="test").cordoned
    waiting = client.submit(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data")
    assert client.explain(waiting).reasons[0].code == "NODES_CORDONED"
    assert client.set_priority(waiting, cyxwiz.Priority.HIGH).priority is cyxwiz.Priority.HIGH
    assert client.pause(waiting).state is cyxwiz.JobState.PAUSED
    assert client.resume(waiting).state is cyxwiz.JobState.QUEUED
    assert client.cancel_jobs(pending_only=True) == 1
    assert not client.uncordon(shared.nodes[0].id).cordoned
    client.wait(client.retry(waiting))


def test_a_job_that_runs_too_long_is_stopped_and_fails(shared):
    id = shared.submit(long_job(limits={"run": 1})).job_id
    status = shared.wait(id, timeout=20)
    assert status.state == job_pb2.JOB_STATE_FAILED
    assert status.cause == job_pb2.CAUSE_TIME_LIMIT
    assert "longer than its limit of 1 s" in status.message
    assert status.retries == 0


def test_jobs_come_after_others(shared):
    first = shared.submit(long_job()).job_id
    second = shared.submit(after=first).job_id
    file = json.dumps({"dataset": "mock://random_data", "model": {"layers": [{"type": "dense", "units": 10}]}})
    third = json.loads(shared.cli("submit", "-", "--after", second, "--json", input=file).stdout)["job_id"]
    last = shared.submit(after={"job": first, "condition": "end"}).job_id
    status = shared.status(second)
    assert status.state == QUEUED
    assert status.reasons[0].code == "DEPENDENCY" and first in status.message
    shared.client().cancel(first)
    for id in (second, third):
        status = shared.wait(id)
        assert status.state == job_pb2.JOB_STATE_CANCELLED
        assert status.cause == job_pb2.CAUSE_DEPENDENCY_FAILED
    shared.succeed(last)
    assert shared.refusal(after="nobody").code == grpc.StatusCode.NOT_FOUND
    assert shared.refusal(after=first).code == grpc.StatusCode.FAILED_PRECONDITION


def test_labels_and_named_resources_choose_the_node(make_cluster):
    cluster = make_cluster()
    plain = cluster.add_node()
    west = cluster.add_node(arguments=["--labels", "zone=west", "--resources", "licence=1", "--disk", "1GiB"])
    small = {"cpus": 0.1, "memory": "500MiB"}
    by_label = cluster.submit(long_job(node_labels={"zone": "west"}, resources=small)).job_id
    assert cluster.wait_running(by_label).current_node_id == west.id
    holder = cluster.submit(long_job(resources={"named": {"licence": 1}, **small})).job_id
    assert cluster.wait_running(holder).current_node_id == west.id
    waiting = cluster.submit(long_job(resources={"named": {"licence": 1}, **small})).job_id
    status = cluster.status(waiting)
    assert status.reasons[0].code == "NOT_ENOUGH_FREE" and "1 licence" in status.message
    assert "licence" in cluster.refusal(resources={"named": {"licence": 2}}).message
    assert "zone=east" in cluster.refusal(node_labels={"zone": "east"}).message
    assert "of disk" in cluster.refusal(resources={"disk": "2GiB"}).message
    nodes = {node.node_id: node for node in cluster.client().nodes()}
    assert nodes[west.id].labels == {"zone": "west"} and nodes[plain.id].labels == {}
    assert nodes[west.id].capacity.named == {"licence": 1} and nodes[west.id].available.named == {}
    assert "zone=west" in cluster.cli("nodes").stdout
    for id in (by_label, holder, waiting):
        cluster.client().cancel(id)
        cluster.wait(id)


def test_pools_are_for_the_jobs_that_name_them(make_cluster):
    cluster = make_cluster()
    plain = cluster.add_node()
    pooled = [cluster.add_node(arguments=["--pool", "fast"]) for _ in range(2)]
    small = {"cpus": 0.1, "memory": "500MiB"}
    jobs = [cluster.submit(long_job(resources=small)).job_id for _ in range(2)]
    assert {cluster.wait_running(job).current_node_id for job in jobs} == {plain.id}
    of_pool = [cluster.submit(long_job(resources=small, pool="fast", anti_affinity="apart")).job_id for _ in range(3)]
    nodes = {cluster.wait_running(job).current_node_id for job in of_pool[:2]}
    assert nodes == {node.id for node in pooled}
    explained = json.loads(cluster.cli("explain", of_pool[2], "--json").stdout)
    assert {reason["code"] for reason in explained["reasons"]} == {"ANTI_AFFINITY", "NO_SUCH_LABEL"}
    listed = json.loads(cluster.cli("nodes", "--pool", "fast", "--json").stdout)
    assert {node["node_id"] for node in listed["nodes"]} == {node.id for node in pooled}
    # Attempts of a cordoned pool go on, and the third gets the place of one that ends once the pool is opened again.
    assert cluster.cli("cordon", "--pool", "fast").stdout.count("gets no new jobs") == 2
    cluster.client().cancel(of_pool[0])
    cluster.wait(of_pool[0])
    assert cluster.status(of_pool[2]).state == job_pb2.JOB_STATE_QUEUED
    cluster.cli("uncordon", "--pool", "fast")
    assert cluster.wait_running(of_pool[2]).current_node_id in nodes
    assert cluster.cli("drain", "--pool", "slow").returncode == 3
    assert cluster.cli("drain").returncode == 2
    cluster.client().cancel(jobs[0])
    for id in (jobs[1], *of_pool[1:]):
        cluster.client().cancel(id)
        cluster.wait(id)


@pytest.mark.parametrize("wrong, path", [
    ({"limits": {"run": -1}}, "$.limits.run"),
    ({"limits": {"deadline": 1 << 50}}, "$.limits.deadline"),
    ({"after": ["a", "a"]}, "$.after[1]"),
    ({"after": ["../a"]}, "$.after[0]"),
    ({"node_labels": {"far west": "yes"}}, "$.node_labels"),
    ({"anti_affinity": "a/b"}, "$.anti_affinity"),
    ({"resources": {"named": {"Licence": 1}}}, "$.resources.named"),
    ({"resources": {"named": {"licence": -1}}}, "$.resources.named.licence"),
    ({"resources": {"disk": -1}}, "$.resources.disk"),
])
def test_wrong_terms_over_the_wire_are_refused_with_their_place(shared, wrong, path):
    refusal = shared.refusal(**wrong)
    assert [problem.path for problem in refusal.problems] == [path]
