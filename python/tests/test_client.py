"""The client against a server in this process whose answers each test writes: what a real server rarely or never
does (broken connections, corrupt files, hostile names) is tested here; tests/integration has the real one."""

import hashlib
import threading
from concurrent import futures

import grpc
import pytest

import cyxwiz
from cyxwiz import _what_if
from cyxwiz.protocol import (
    common_pb2,
    deployment_pb2,
    deployment_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
)


class Service(job_pb2_grpc.JobServiceServicer, deployment_pb2_grpc.ModelServiceServicer, log_pb2_grpc.JobLogServiceServicer,
              node_pb2_grpc.NodeDiscoveryServiceServicer):
    """Answers with the functions a test puts into `on`, by method name."""

    def __init__(self):
        self.on, self.requests = {}, []

    def _answer(self, method, request, context):
        self.requests.append(request)
        return self.on[method](request, context)


def _method(name):
    return lambda self, request, context: self._answer(name, request, context)


for _name in ("SubmitJob", "GetJobStatus", "CancelJob", "StreamJobUpdates", "ListJobs", "DeleteJob", "DownloadModel", "ReadLog",
              "ListNodes"):
    setattr(Service, _name, _method(_name))


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def client(service):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    job_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    deployment_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    log_pb2_grpc.add_JobLogServiceServicer_to_server(service, server)
    node_pb2_grpc.add_NodeDiscoveryServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with cyxwiz.Client(f"127.0.0.1:{port}", timeout=10, patience=10) as client:
        yield client
    server.stop(0).wait()


def wire_status(state, **fields):
    return job_pb2.JobStatus(job_id="j", state=state, **fields)


def aborts(code, message):
    return lambda request, context: context.abort(code, message)


def test_submit_returns_id_and_node(service, client):
    service.on["SubmitJob"] = lambda request, context: job_pb2.SubmitJobResponse(job_id="j", assigned_node_id="n")
    submission = client.submit(model={"layers": []}, dataset="mock://random_data")
    assert submission == cyxwiz.Submission("j", "n")
    assert service.requests[0].config.model_definition == '{"layers": []}'


def test_submit_and_status_tell_when_a_job_that_waits_may_start(service, client):
    reasons = [job_pb2.Reason(code="NOT_ENOUGH_FREE", message="busy", nodes=["n"])]
    waiting = {"reasons": reasons, "smallest_change": "add a node", "queue_position": 3, "estimated_start_time": 1_800_000_000}
    service.on["SubmitJob"] = lambda request, context: job_pb2.SubmitJobResponse(job_id="j", **waiting)
    service.on["GetJobStatus"] = lambda request, context: job_pb2.GetJobStatusResponse(
        status=wire_status(job_pb2.JOB_STATE_QUEUED, **waiting))
    for told in client.submit(model={"layers": []}, dataset="mock://random_data"), client.status("j"):
        assert told.reasons == [cyxwiz.Reason("NOT_ENOUGH_FREE", "busy", ["n"])]
        assert told.smallest_change == "add a node" and told.queue_position == 3
        assert told.estimated_start.timestamp() == 1_800_000_000


def test_supposed_nodes_are_written_as_in_a_job_file():
    wire = _what_if.to_wire({"nodes": 2, "cpus": 1.5, "memory": "32GiB", "gpus": 4, "gpu_memory": "80GiB"})
    assert wire.more_nodes == 2 and wire.resources.cpu_millis == 1500 and wire.resources.memory_bytes == 32 << 30
    assert wire.resources.gpus == 4 and wire.resources.gpu_memory_bytes == 80 << 30
    assert _what_if.to_wire({"cpus": 4}).more_nodes == 1, "one is meant where only what it has is said"
    assert _what_if.to_wire({}).more_nodes == 0
    for wrong in {"disk": 1}, {"cpus": "many"}, {"nodes": -1}, {"nodes": 1.5}, {"memory": "much"}, {"gpus": True}:
        with pytest.raises(ValueError, match="^what_if: "):
            _what_if.to_wire(wrong)


def test_a_closed_client_says_so(service, client):
    client.close()
    for use in (lambda: client.status("j"), lambda: next(client.watch("j")), lambda: next(client.logs("j"))):
        with pytest.raises(cyxwiz.CyxwizError, match="closed"):
            use()


def test_a_refused_job_carries_every_problem(service, client):
    def refuse(request, context):
        response = job_pb2.SubmitJobResponse(problems=[
            job_pb2.Problem(path="$.model.layers[0].units", message="units must be positive", expected="1 or more", found="-5"),
            job_pb2.Problem(path="$.dataset", message="no such file", hint="check the path")])
        context.set_trailing_metadata([("cyxwiz-submit-response-bin", response.SerializeToString())])
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the job has 2 problems")

    service.on["SubmitJob"] = refuse
    with pytest.raises(cyxwiz.Refused, match="2 problems") as caught:
        client.submit(model={})
    assert caught.value.code == "INVALID_ARGUMENT"
    assert [p.path for p in caught.value.problems] == ["$.model.layers[0].units", "$.dataset"]
    assert str(caught.value.problems[0]) == "$.model.layers[0].units: units must be positive: expected 1 or more, found -5"
    assert str(caught.value.problems[1]) == "$.dataset: no such file (check the path)"


@pytest.mark.parametrize("code, kind", [
    (grpc.StatusCode.NOT_FOUND, cyxwiz.NotFound),
    (grpc.StatusCode.FAILED_PRECONDITION, cyxwiz.Refused),
    (grpc.StatusCode.ALREADY_EXISTS, cyxwiz.Refused),
    (grpc.StatusCode.UNAVAILABLE, cyxwiz.Unreachable),
    (grpc.StatusCode.INTERNAL, cyxwiz.CyxwizError),
])
def test_codes_become_exceptions(service, client, code, kind):
    service.on["GetJobStatus"] = aborts(code, "because")
    with pytest.raises(kind, match="because") as caught:
        client.status("j")
    assert caught.value.code == code.name


def test_no_server_is_unreachable():
    with cyxwiz.Client("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(cyxwiz.Unreachable):
            client.status("j")


def test_a_late_answer_is_a_timeout(service):
    # The server of this test accepts connections and never answers.
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with cyxwiz.Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.2) as client:
            with pytest.raises((cyxwiz.Timeout, cyxwiz.Unreachable)):
                client.status("j")


def test_models_are_evaluated_and_predict(service, client):
    service.on["SubmitJob"] = lambda request, context: job_pb2.SubmitJobResponse(job_id="e")
    evaluation = client.evaluate("j", "mock://random_data", metrics=["f1"], name="n", hyperparameters={"threads": 2})
    assert evaluation.job_id == "e"
    client.predict(evaluation, "mock://random_data", output="jsonl")
    first, second = (request.config for request in service.requests)
    assert first.job_type == job_pb2.JOB_TYPE_EVALUATION and first.model_from.job_id == "j" and first.name == "n"
    assert dict(first.hyperparameters) == {"metrics": "f1", "threads": "2"} and first.dataset_uri == "mock://random_data"
    assert second.job_type == job_pb2.JOB_TYPE_INFERENCE and second.model_from.job_id == "e" and second.output == "jsonl"


def test_watch_ends_with_the_final_status(service, client):
    service.on["StreamJobUpdates"] = lambda request, context: iter([
        job_pb2.JobUpdateStream(status=wire_status(job_pb2.JOB_STATE_RUNNING, progress=0.5, metrics={"train_loss": 0.25})),
        job_pb2.JobUpdateStream(status=wire_status(job_pb2.JOB_STATE_SUCCEEDED, progress=1.0))])
    seen = list(client.watch("j"))
    assert [s.state for s in seen] == [cyxwiz.JobState.RUNNING, cyxwiz.JobState.SUCCEEDED]
    assert seen[0].metrics == {"train_loss": 0.25} and not seen[0].final and seen[1].final


def test_watch_survives_a_broken_stream(service, client):
    calls = []

    def stream(request, context):
        calls.append(1)
        yield job_pb2.JobUpdateStream(status=wire_status(job_pb2.JOB_STATE_RUNNING))
        if len(calls) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        if len(calls) == 2:
            return  # as a server does that shuts down in order
        yield job_pb2.JobUpdateStream(status=wire_status(job_pb2.JOB_STATE_SUCCEEDED))

    service.on["StreamJobUpdates"] = stream
    assert list(client.watch("j"))[-1].state is cyxwiz.JobState.SUCCEEDED
    assert len(calls) == 3


def test_watch_gives_up_when_patience_ends(service, client):
    service.on["StreamJobUpdates"] = aborts(grpc.StatusCode.UNAVAILABLE, "gone")
    client._patience = 0.2
    with pytest.raises(cyxwiz.Unreachable, match="gone"):
        list(client.watch("j"))


def test_wait_times_out(service, client):
    def stream(request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        yield job_pb2.JobUpdateStream(status=wire_status(job_pb2.JOB_STATE_QUEUED))
        ended.wait(10)  # until the client's deadline ends the call

    service.on["StreamJobUpdates"] = stream
    with pytest.raises(cyxwiz.Timeout):
        client.wait("j", timeout=0.3)


def final(state, **fields):
    update = job_pb2.JobUpdateStream(status=wire_status(state, **fields))
    answer = job_pb2.GetJobStatusResponse(status=update.status, result=job_pb2.JobResult(job_id="j"))
    return (lambda request, context: iter([update])), (lambda request, context: answer)


def test_wait_raises_what_went_wrong(service, client):
    service.on["StreamJobUpdates"], service.on["GetJobStatus"] = final(
        job_pb2.JOB_STATE_FAILED, error=common_pb2.Error(message="the loss became NaN", details="lower the learning rate"),
        cause=job_pb2.CAUSE_DIVERGED)
    with pytest.raises(cyxwiz.JobFailed, match=r"the loss became NaN \(lower the learning rate\)") as caught:
        client.wait("j")
    assert caught.value.status.cause is cyxwiz.FailureCause.DIVERGED
    assert client.wait("j", check=False).state is cyxwiz.JobState.FAILED
    service.on["StreamJobUpdates"], service.on["GetJobStatus"] = final(job_pb2.JOB_STATE_CANCELLED)
    with pytest.raises(cyxwiz.JobCancelled):
        client.wait("j")


def test_jobs_follows_the_pages(service, client):
    pages = {"": (["a", "b"], "next"), "next": (["c"], "")}

    def list_jobs(request, context):
        ids, token = pages[request.page_token]
        return job_pb2.ListJobsResponse(jobs=[job_pb2.JobStatus(job_id=i) for i in ids], next_page_token=token)

    service.on["ListJobs"] = list_jobs
    assert [s.job_id for s in client.jobs(user="me")] == ["a", "b", "c"]
    assert [r.user_id for r in service.requests] == ["me", "me"]


def test_a_state_of_a_newer_server_is_unknown(service, client):
    service.on["GetJobStatus"] = lambda request, context: job_pb2.GetJobStatusResponse(status=wire_status(99))
    assert client.status("j").state is cyxwiz.JobState.UNKNOWN


def test_logs_come_as_lines_whatever_the_chunks(service, client):
    text = "epoch 1\nlöss 0.5\nlast".encode()
    cut = text.index(b"\xc3") + 1  # within a character

    def read(request, context):
        assert request.follow
        for start, end in ((0, 3), (3, cut), (cut, len(text))):
            if start >= request.offset:
                yield log_pb2.LogChunk(attempt=1, offset=start, data=text[start:end])
                if end == cut and request.offset == 0:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    service.on["ReadLog"] = read
    assert list(client.logs("j", follow=True)) == ["epoch 1", "löss 0.5", "last"]
    assert [r.offset for r in service.requests] == [0, cut]


def serve_files(service, files, sent=None):
    artifacts = [job_pb2.Artifact(name=n, sha256=hashlib.sha256(d).hexdigest(), size=len(d)) for n, d in files.items()]
    service.on["GetJobStatus"] = lambda request, context: job_pb2.GetJobStatusResponse(
        status=wire_status(job_pb2.JOB_STATE_SUCCEEDED), result=job_pb2.JobResult(artifacts=artifacts))

    def download(request, context):
        data = (sent or files)[request.file]
        for start in range(0, len(data), 4):
            yield deployment_pb2.ModelChunk(data=data[start:start + 4], offset=start, total_size=len(data))

    service.on["DownloadModel"] = download


def test_download_fetches_each_file_once(service, client, tmp_path):
    files = {"weights.safetensors": b"0123456789", "model.json": b"{}"}
    serve_files(service, files)
    paths = client.download("j", tmp_path / "out")
    assert {p.name: p.read_bytes() for p in paths} == files
    assert paths[0].name == "weights.safetensors"
    fetched = len(service.requests)
    client.download("j", tmp_path / "out")
    assert len(service.requests) == fetched + 1  # the status only


@pytest.mark.parametrize("sent", [b"0123456780", b"012345678", b"0123456789x"])
def test_a_wrong_byte_is_noticed_and_nothing_is_left(service, client, tmp_path, sent):
    serve_files(service, {"w": b"0123456789"}, {"w": sent})
    with pytest.raises(cyxwiz.Corrupt, match="SHA-256"):
        client.download("j", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", "a\\b"])
def test_a_name_cannot_lead_out_of_the_folder(service, client, tmp_path, name):
    serve_files(service, {name: b"x"})
    with pytest.raises(cyxwiz.Corrupt, match="unsafe name"):
        client.download("j", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_without_files_is_not_found(service, client, tmp_path):
    service.on["GetJobStatus"] = lambda request, context: job_pb2.GetJobStatusResponse(
        status=wire_status(job_pb2.JOB_STATE_RUNNING))
    with pytest.raises(cyxwiz.NotFound, match="RUNNING"):
        client.download("j", tmp_path)


def test_nodes_in_cores_and_bytes(service, client):
    service.on["ListNodes"] = lambda request, context: node_pb2.ListNodesResponse(nodes=[node_pb2.NodeInfo(
        node_id="n", is_online=True, cpu_cores=2, last_heartbeat=1_700_000_000,
        capacity=job_pb2.ResourceRequest(cpu_millis=2000, memory_bytes=1 << 30),
        devices=[common_pb2.DeviceCaps(device_type=common_pb2.DEVICE_CPU, device_name="EPYC")],
        attempts=[{"job_id": "j", "attempt": 1}])])
    (node,) = client.nodes()
    assert node.capacity == cyxwiz.Resources(cpus=2.0, memory=1 << 30, gpus=0)
    assert node.devices[0].type == "cpu" and node.jobs == ["j"] and node.last_heartbeat.year == 2023


def test_gpus_of_nodes_and_jobs(service, client):
    service.on["ListNodes"] = lambda request, context: node_pb2.ListNodesResponse(nodes=[node_pb2.NodeInfo(
        node_id="n", is_online=True, capacity=job_pb2.ResourceRequest(cpu_millis=1000, gpus=2, gpu_memory_bytes=160),
        available=job_pb2.ResourceRequest(gpus=1, gpu_share_millis=250, gpu_memory_bytes=100),
        devices=[common_pb2.DeviceCaps(device_type=common_pb2.DEVICE_CUDA, device_name="A100", memory_total=80, gpu_index=1,
                                       free_share_millis=250, free_memory_bytes=20, uuid="GPU-1")])])
    (node,) = client.nodes()
    assert node.available == cyxwiz.Resources(cpus=0, memory=0, gpus=1, gpu_share=0.25, gpu_memory=100)
    assert node.devices[0] == cyxwiz.Device("cuda", "A100", 80, 1, 0.25, 20, "GPU-1")
    status = wire_status(job_pb2.JOB_STATE_RUNNING)
    status.gpus.add(index=1, share_millis=750, memory_bytes=60)
    service.on["GetJobStatus"] = lambda request, context: job_pb2.GetJobStatusResponse(status=status)
    assert client.status("j").gpus == (cyxwiz.GpuPart(1, 0.75, 60),)


def test_the_server_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("CYXWIZ_SERVER", "127.0.0.1:4")
    with cyxwiz.Client() as client:
        assert client.server == "127.0.0.1:4"
    monkeypatch.delenv("CYXWIZ_SERVER")
    with cyxwiz.Client() as client:
        assert client.server == "127.0.0.1:50051"
