"""Between server and node: tokens, fencing of old attempts, leases."""

import base64
import hashlib
import json
import re
import subprocess
import time
from concurrent import futures

import cyxwiz
import grpc
import pytest

from cluster import NodeProgram, channel, job, long_job, wait_gone
from fake_node import FakeNode
from cyxwiz.protocol import common_pb2, deployment_pb2, deployment_pb2_grpc, job_pb2, node_pb2, node_pb2_grpc

RUNNING, QUEUED = job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_QUEUED


# ---- nodes that do not come back ----

def wait_for(cluster, node, kind, times=1):
    """Until this has happened to the node so many times."""
    of_kind = (event for event in cluster.client().events(node=node.id, follow=True) if event.kind is kind)
    for _ in range(times):
        next(of_kind)


def test_a_node_that_is_offline_can_be_forgotten(make_cluster):
    cluster = make_cluster(lease_ms=600, heartbeat_interval_ms=100)
    node = cluster.add_node()
    done = cluster.cli("nodes", "forget", node.id)
    assert done.returncode == 4 and "is online" in done.stderr, done
    node.kill()
    wait_for(cluster, node, cyxwiz.EventKind.NODE_LOST)
    assert cluster.cli("nodes", "forget", node.id).returncode == 0
    assert cluster.client().nodes() == []
    assert cluster.cli("nodes", "forget", node.id).returncode == 3
    node.start()
    node.kill()
    wait_for(cluster, node, cyxwiz.EventKind.NODE_LOST, 2)
    assert cluster.rest("DELETE", f"/api/v1/nodes/{node.id}")[0] == 200
    with pytest.raises(cyxwiz.NotFound):
        cluster.client().forget_node(node.id)
    kinds = [event.kind for event in cluster.client().events(node=node.id)]
    assert kinds.count(cyxwiz.EventKind.NODE_FORGOTTEN) == 2


def test_what_a_node_tells_of_itself_is_limited(make_cluster):
    cluster = make_cluster()
    with FakeNode(cluster, "large") as node:
        for i in range(100):  # only what it is called differs
            node.info.node_id = f"large-{i}"
            node.info.available_runtimes[:] = ["x" * 1000] * 60
            node.register()
        node.info.available_runtimes.extend(["x" * 1000] * 10)
        for call in (node.register, node.heartbeat):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "65536 bytes" in error.value.details()
    page = cluster.discovery.ListNodes(node_pb2.ListNodesRequest(page_size=1000))
    assert page.next_page_token and page.ByteSize() < 4 << 20, "a stock client takes it"
    assert len(json.loads(cluster.cli("nodes", "--json").stdout)["nodes"]) == 101


# ---- job tokens ----

def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(key, tmp_path, *, job_id, attempt, node, expires_in=600, **claims):
    """A job token, made with openssl as docs of the format say."""
    signed = "cyx1." + base64url(json.dumps(
        {"job": job_id, "attempt": attempt, "node": node, "exp": int(time.time()) + expires_in, **claims}).encode())
    (tmp_path / "claims").write_text(signed)
    signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-in", str(tmp_path / "claims")],
                               capture_output=True, check=True).stdout
    return f"{signed}.{base64url(signature)}"


@pytest.fixture
def server_key(shared):
    found = [p for p in shared.data.rglob("*") if p.is_file() and b"PRIVATE KEY" in p.read_bytes()[:100]]
    assert len(found) == 1, found
    assert found[0].stat().st_mode & 0o077 == 0, "others can read the server's key"
    return found[0]


@pytest.fixture
def own_key(tmp_path):
    key = tmp_path / "own.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, capture_output=True)
    return key


def assign(shared, token, job_id="forged", attempt=1, node_id=None):
    stub = node_pb2_grpc.NodeServiceStub(channel(shared.nodes[0].endpoint))
    config = job(job_id=job_id)
    return stub.AssignJob(node_pb2.AssignJobRequest(
        node_id=node_id or shared.nodes[0].id, job=config, authorization_token=token, attempt=attempt,
        resources=job_pb2.ResourceRequest(cpu_millis=1000, memory_bytes=1 << 30)), timeout=10)


def assert_refused(shared, token, *words, **fields):
    """The node must not take the attempt: as an error of gRPC, or as `accepted` = false with the reason."""
    before = set(shared.nodes[0].runners())
    try:
        response = assign(shared, token, **fields)
        assert not response.accepted
        text = response.error.message
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), error
        text = error.details()
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
    assert set(shared.nodes[0].runners()) <= before


def test_no_token_is_refused(shared):
    assert_refused(shared, "", "token")


@pytest.mark.parametrize("token", ["x", "cyx1.", "cyx1.e30.e30", "cyx1." + "A" * 100_000])
def test_garbage_is_refused(shared, token):
    assert_refused(shared, token, "token")


def test_a_token_of_another_key_is_refused(shared, own_key, tmp_path):
    assert_refused(shared, sign(own_key, tmp_path, job_id="forged", attempt=1, node=shared.nodes[0].id), "sign")


def test_an_expired_token_is_refused(shared, server_key, tmp_path):
    assert_refused(shared, sign(server_key, tmp_path, job_id="forged", attempt=1, node=shared.nodes[0].id, expires_in=-60),
                   "expired")


@pytest.mark.parametrize("claim", [{"job_id": "another"}, {"attempt": 2}, {"node": "another"}])
def test_a_token_for_something_else_is_refused(shared, server_key, tmp_path, claim):
    assert_refused(shared, sign(server_key, tmp_path, **{
        "job_id": "forged", "attempt": 1, "node": shared.nodes[0].id, **claim}), "token")


def test_a_token_with_changed_claims_is_refused(shared, server_key, tmp_path):
    token = sign(server_key, tmp_path, job_id="other", attempt=1, node=shared.nodes[0].id)
    claims = base64url(json.dumps({"job": "forged", "attempt": 1, "node": shared.nodes[0].id, "exp": 1 << 40}).encode())
    assert_refused(shared, f"cyx1.{claims}.{token.rpartition('.')[2]}", "sign")


class FakeServer(node_pb2_grpc.NodeServiceServicer):
    """Registers every node, each time with a new session, and acknowledges whatever it reports."""

    def __init__(self, key, folder):
        self.folder, self.data_roots, self.sessions = folder, [], 0
        self.public_key = subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"],
                                         capture_output=True, check=True).stdout[-32:]
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        node_pb2_grpc.add_NodeServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(0).wait()

    @property
    def session(self):
        return f"session-{self.sessions}"

    def RegisterNode(self, request, context):
        self.sessions += 1
        return node_pb2.RegisterNodeResponse(
            status=common_pb2.STATUS_SUCCESS, node_id=request.info.node_id or "node-1", session_token=self.session,
            server_public_key=self.public_key, heartbeat_interval_ms=200, lease_ms=10_000)

    def Heartbeat(self, request, context):
        return node_pb2.HeartbeatResponse(status=common_pb2.STATUS_SUCCESS, keep_alive=True)

    def ReportProgress(self, request, context):
        return node_pb2.ReportProgressResponse(status=common_pb2.STATUS_SUCCESS, continue_job=True)

    def ReportCompletion(self, request, context):
        return node_pb2.ReportCompletionResponse(status=common_pb2.STATUS_SUCCESS)


def test_the_right_token_is_taken_and_serves_for_one_request_once(tmp_path, own_key):
    """The counterpart of the tests above: only the token was wrong there."""
    server = FakeServer(own_key, tmp_path)
    node = NodeProgram(server, "node1", cpus=2, memory="4GiB", env={}, arguments=[])
    try:
        stub = node_pb2_grpc.NodeServiceStub(channel(node.endpoint))
        request = node_pb2.AssignJobRequest(
            node_id=node.id, job=long_job(job_id="job-1"), attempt=1, session_token=server.session,
            resources=job_pb2.ResourceRequest(cpu_millis=1000, memory_bytes=1 << 30))
        permitted = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        request.authorization_token = sign(own_key, tmp_path, job_id="job-1", attempt=1, node=node.id, request=permitted)
        other = node_pb2.AssignJobRequest()
        other.CopyFrom(request)
        other.job.hyperparameters["epochs"] = "7"
        with pytest.raises(grpc.RpcError) as caught:
            stub.AssignJob(other, timeout=10)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED, caught.value

        started = time.monotonic()
        first = stub.AssignJob(request, timeout=10)
        assert first.accepted and first.job_id == "job-1", first
        assert time.monotonic() - started < 1, "the answer takes milliseconds"
        assert stub.AssignJob(request, timeout=10).accepted, "again the same attempt: accepted, and not started twice"
        assert len(node.runners()) <= 1

        node.kill()
        node.start()
        stub = node_pb2_grpc.NodeServiceStub(channel(node.endpoint))
        with pytest.raises(grpc.RpcError) as caught:
            stub.AssignJob(request, timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE and "registered again" in caught.value.details()
        assert node.runners() == []
    finally:
        node.kill()
        server.stop()


# ---- fencing and leases ----

def test_a_report_of_an_old_attempt_is_answered_with_stop_and_changes_nothing(make_cluster):
    cluster = make_cluster(lease_ms=1000, heartbeat_interval_ms=100)
    with FakeNode(cluster) as fake:
        job_id = cluster.submit(job(max_retries=0)).job_id
        first = fake.next_assignment()
        assert first.attempt == 1
        assert fake.progress(first, 0.25).continue_job
        # The fake node falls silent; its lease runs out and the job waits again.
        cluster.wait(job_id, lambda s: s.state == QUEUED)
        fake.register()
        second = fake.next_assignment()
        assert second.attempt == 2 and second.authorization_token != first.authorization_token
        fake.heartbeat([job_pb2.AttemptRef(job_id=job_id, attempt=2)])
        assert fake.progress(second, 0.5).continue_job

        assert not fake.progress(first, 0.9).continue_job
        try:
            answer = fake.complete(first, common_pb2.STATUS_FAILED, cause=job_pb2.CAUSE_USER_ERROR)
            assert answer.error.message or answer.status != common_pb2.STATUS_UNKNOWN
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED), error
        status = cluster.status(job_id)
        assert (status.state, status.attempt, status.progress) == (RUNNING, 2, 0.5), status

        fake.complete(second)
        assert cluster.wait(job_id).state == job_pb2.JOB_STATE_SUCCEEDED
        # Told once more, as a node does that has not seen the answer: nothing changes.
        fake.complete(second)
        assert cluster.status(job_id).state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_heartbeat_with_an_attempt_that_is_not_the_nodes_own_is_told_to_stop(make_cluster):
    cluster = make_cluster()
    with FakeNode(cluster) as fake:
        stray = job_pb2.AttemptRef(job_id="nope", attempt=1)
        assert list(fake.heartbeat([stray]).attempts_to_stop) == [stray]


def test_an_unknown_node_is_told_to_register(server_only):
    with pytest.raises(grpc.RpcError) as caught:
        server_only.node_service.Heartbeat(node_pb2.HeartbeatRequest(node_id="nobody"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND and "nobody" in caught.value.details()


def test_a_report_with_the_token_of_another_job_is_refused(make_cluster):
    cluster = make_cluster()
    with FakeNode(cluster) as fake:
        one, two = cluster.submit(job()).job_id, cluster.submit(job()).job_id
        assignments = {a.job.job_id: a for a in (fake.next_assignment(), fake.next_assignment())}
        forged = node_pb2.AssignJobRequest()
        forged.CopyFrom(assignments[one])
        forged.authorization_token = assignments[two].authorization_token
        with pytest.raises(grpc.RpcError) as caught:
            fake.complete(forged)
        assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), caught.value
        assert cluster.status(one).state != job_pb2.JOB_STATE_SUCCEEDED


def test_a_node_that_cannot_reach_the_server_stops_its_runners_before_the_lease_ends(make_cluster):
    cluster = make_cluster(lease_ms=3000, heartbeat_interval_ms=200)
    node = cluster.add_node()
    job_id = cluster.submit(long_job()).job_id
    cluster.wait_running(job_id)
    runners = node.runners()
    cluster.server.kill()
    assert not wait_gone(runners, 4.5), "the runner lived on after its lease"
    assert node.program.alive


def test_the_short_forms_of_the_reports_work(make_cluster):
    """JobStatusService, which older nodes speak."""
    cluster = make_cluster()
    with FakeNode(cluster) as fake:
        job_id = cluster.submit(job()).job_id
        fake.next_assignment()
        answer = cluster.job_status_service.UpdateJobStatus(node_pb2.UpdateJobStatusRequest(
            node_id=fake.id, job_id=job_id, status=common_pb2.STATUS_IN_PROGRESS, progress=0.5, metrics={"train_loss": 1.5}))
        assert answer.should_continue
        status = cluster.status(job_id)
        assert status.progress == 0.5 and dict(status.metrics) == {"train_loss": 1.5}
        cluster.job_status_service.ReportJobResult(node_pb2.ReportJobResultRequest(
            node_id=fake.id, job_id=job_id, final_status=common_pb2.STATUS_FAILED, error_message="it broke"))
        status = cluster.wait(job_id, lambda s: s.attempt == 1 and s.state != RUNNING)
        assert "it broke" in f"{status.error.message} {status.message}"


def test_the_nodes_are_listed_with_their_hardware(shared):
    node = shared.nodes[0]
    listed = shared.discovery.ListNodes(node_pb2.ListNodesRequest())
    assert listed.total_count == listed.online_count == 1
    info = shared.discovery.GetNodeInfo(node_pb2.GetNodeInfoRequest(node_id=node.id)).info
    assert info.node_id == node.id and info.is_online and info.endpoint == node.endpoint
    assert info.cpu_cores >= 1 and info.ram_total > 0 and info.last_heartbeat > 0
    assert info.capacity.cpu_millis == 2000 and info.capacity.memory_bytes == 4 << 30
    assert any(d.device_type == common_pb2.DEVICE_CPU for d in info.devices)
    with pytest.raises(grpc.RpcError) as caught:
        shared.discovery.GetNodeInfo(node_pb2.GetNodeInfoRequest(node_id="nope"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND and "nope" in caught.value.details()


def test_nodes_are_found_by_what_they_have(shared):
    find = lambda **wanted: shared.discovery.FindNodes(node_pb2.FindNodesRequest(**wanted)).nodes  # noqa: E731
    assert [node.node_id for node in find()] == [shared.nodes[0].id]
    has_gpu = any(device.device_type != common_pb2.DEVICE_CPU for device in find()[0].devices)
    assert bool(find(min_vram=1)) == has_gpu, "the memory of the machine is no memory of a GPU"
    assert not find(min_vram=1 << 60)


def test_the_server_hands_on_what_a_node_has_measured(shared):
    metrics = shared.node_service.GetNodeMetrics(node_pb2.GetNodeMetricsRequest(node_id=shared.nodes[0].id)).metrics
    direct = node_pb2_grpc.NodeServiceStub(channel(shared.nodes[0].endpoint)).GetNodeMetrics(node_pb2.GetNodeMetricsRequest()).metrics
    assert [point.timestamp for point in metrics] == [point.timestamp for point in direct][:len(metrics)]
    with pytest.raises(grpc.RpcError) as caught:
        shared.node_service.GetNodeMetrics(node_pb2.GetNodeMetricsRequest(node_id="nobody"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND and "nobody" in caught.value.details()


def test_health_and_reflection(shared):
    """By the bytes of grpc.health.v1 and grpc.reflection.v1alpha, which every gRPC tool speaks."""
    for address in (shared.address, shared.nodes[0].endpoint):
        wire = channel(address)
        health = wire.unary_unary("/grpc.health.v1.Health/Check")
        reflect = wire.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        listed = b"".join(reflect(iter([b"\x3a\x00"])))  # list_services
        services = set(re.findall(rb"cyxwiz\.protocol\.\w+", listed))
        assert b"cyxwiz.protocol.NodeService" in services
        for name in (b"", *services):
            assert health(b"\x0a" + bytes([len(name)]) + name if name else b"") == b"\x08\x01", f"{name} is not SERVING"
        with pytest.raises(grpc.RpcError) as caught:
            health(b"\x0a\x04nope")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_methods_of_later_releases_say_so_in_a_sentence(shared):
    with pytest.raises(grpc.RpcError) as caught:
        deployment_pb2_grpc.DeploymentServiceStub(shared.channel).ListDeployments(deployment_pb2.ListDeploymentsRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert len(caught.value.details().split()) >= 4, caught.value.details()


def test_a_thousand_nodes_come_back_at_once_with_what_they_run(make_cluster):
    cluster = make_cluster(lease_ms=60_000)
    with FakeNode(cluster, "n0") as fake:  # takes the attempts of all
        infos = {f"n{i}": node_pb2.NodeInfo() for i in range(1, 1000)}
        for id, info in infos.items():
            info.CopyFrom(fake.info)
            info.node_id = id
        infos["n0"] = fake.info

        def register(active):
            calls = [cluster.node_service.RegisterNode.future(
                node_pb2.RegisterNodeRequest(info=info, active_attempts=active.get(id, [])), timeout=60, wait_for_ready=True)
                for id, info in infos.items()]
            return [call.result() for call in calls]

        register({})
        pending = [cluster.jobs.SubmitJob.future(job_pb2.SubmitJobRequest(config=job(resources={"cpus": 8}))) for _ in infos]
        ids = {call.result().job_id for call in pending}
        assignments = [fake.next_assignment() for _ in infos]
        assert {a.node_id for a in assignments} == set(infos) and {a.job.job_id for a in assignments} == ids

        cluster.server.kill()
        cluster.start_server()
        register({a.node_id: [job_pb2.AttemptRef(job_id=a.job.job_id, attempt=1)] for a in assignments})
        calls = [cluster.node_service.ReportCompletion.future(node_pb2.ReportCompletionRequest(
            node_id=a.node_id, job_id=a.job.job_id, attempt=1, authorization_token=a.authorization_token,
            result=job_pb2.JobResult(job_id=a.job.job_id, status=common_pb2.STATUS_COMPLETED)), timeout=60) for a in assignments]
        assert all(call.result().status == common_pb2.STATUS_SUCCESS for call in calls)
        done = cluster.list_jobs()
        assert {s.job_id for s in done} == ids
        assert all(s.state == job_pb2.JOB_STATE_SUCCEEDED and s.attempt == 1 for s in done)
        assert fake.assigned.empty(), "nothing was begun anew"
