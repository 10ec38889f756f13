"""Everything wrong with a job is refused at SubmitJob, all at once, with where, what was expected, what was found."""

import gzip
import http.client
import json
import os
import shutil
import struct

import grpc
import pytest

from cluster import job
from cyxwiz.protocol import common_pb2, control_pb2, control_pb2_grpc, deployment_pb2, job_pb2, log_pb2, node_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def refused(cluster, path, *words, config=None, **fields):
    """The refusal of a job that has exactly this problem, whose text holds every one of `words`."""
    before = cluster.jobs.ListJobs(job_pb2.ListJobsRequest()).total_count
    refusal = cluster.refusal(config, **fields)
    assert refusal.code == INVALID, refusal
    problem = refusal.problem(path)
    text = f"{problem.message} {problem.expected} {problem.found} {problem.hint}"
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    assert path in refusal.message, "the message alone must tell an old client what is wrong"
    assert cluster.jobs.ListJobs(job_pb2.ListJobsRequest()).total_count == before, "a refused job must leave nothing"
    return refusal


# ---- the model ----

def test_not_json(shared):
    refused(shared, "$.model", "JSON", model="{not json")
    refused(shared, "$.model", "NUL", "line 1", model='{"layers": [{"type": "dense", "units": 10}]}\0 and more')


def test_a_megabyte_of_nested_brackets(shared):
    refusal = shared.refusal(model="[" * (1 << 20))
    assert refusal.code == INVALID and "$.model" in refusal.text(), refusal
    assert len(refusal.text()) < 4096, "the answer must not repeat the input"
    assert shared.server.alive


def test_deep_nesting_within_the_size_limit(shared):
    refusal = shared.refusal(model='{"layers":' + "[" * 100_000 + "]" * 100_000 + "}")
    assert refusal.code == INVALID and "$.model" in refusal.text(), refusal
    assert shared.server.alive


def test_unknown_layer_with_the_nearest_name(shared):
    refused(shared, "$.model.layers[0].type", "dense", "dens",
            layers=[{"type": "dens", "units": 10}])


def test_layers_in_a_circle(shared):
    refused(shared, "$.model.layers[0].inputs", "a -> b -> a", layers=[
        {"type": "add", "name": "a", "inputs": ["input", "b"]}, {"type": "relu", "name": "b"},
        {"type": "dense", "units": 10}])


def test_a_block_that_is_repeated_beyond_the_limit(shared):
    refused(shared, "$.model.layers", "1000", "1000000001", layers=[
        {"type": "block", "repeat": 1000, "layers": [
            {"type": "block", "repeat": 1000, "layers": [
                {"type": "block", "repeat": 1000, "layers": [{"type": "relu"}]}]}]},
        {"type": "dense", "units": 10}])


def test_unknown_key_of_a_layer_with_the_nearest_name(shared):
    refused(shared, "$.model.layers[0].unit", "units", layers=[{"type": "dense", "unit": 10}])


def test_negative_units(shared):
    refused(shared, "$.model.layers[0].units", "-5", layers=[{"type": "dense", "units": -5}])


def test_units_of_a_million_millions(shared):
    refused(shared, "$.model.layers[0].units", "1000000000000", layers=[{"type": "dense", "units": 10**12}])


def test_shape_mismatch_names_layer_and_shapes(shared):
    # A convolution needs an image; the mock data are vectors of 10 features.
    refused(shared, "$.model.layers[0]", "[10]",
            layers=[{"type": "conv2d", "filters": 8, "kernel_size": 3}, {"type": "flatten"}, {"type": "dense", "units": 10}])


def test_output_must_have_a_value_for_each_class(shared):
    refusal = shared.refusal(layers=[{"type": "dense", "units": 7}])
    assert refusal.code == INVALID, refusal
    assert "7" in refusal.text() and "10" in refusal.text() and "$.model.layers[0]" in refusal.text(), refusal


# ---- the hyperparameters ----

@pytest.mark.parametrize("value", ["abc", "NaN", "-1", "", "inf", "1e400", "0x10"])
def test_learning_rate(shared, value):
    refused(shared, "$.hyperparameters.learning_rate", *([value] if value else []), hyperparameters={"learning_rate": value})


def test_epochs_0(shared):
    refused(shared, "$.hyperparameters.epochs", "0", hyperparameters={"epochs": "0"})


def test_epochs_in_two_places_must_agree(shared):
    refusal = shared.refusal(hyperparameters={"epochs": "2"}, epochs=3)
    assert refusal.code == INVALID and "epochs" in refusal.text() and "2" in refusal.text() and "3" in refusal.text(), refusal


def test_unknown_hyperparameter_with_the_nearest_name(shared):
    refused(shared, "$.hyperparameters.learning_rat", "learning_rate", hyperparameters={"learning_rat": "0.1"})


def test_all_problems_are_told_at_once(shared):
    refusal = shared.refusal(layers=[{"type": "dens", "units": 3}, {"type": "dense", "units": -1}],
                             hyperparameters={"learning_rate": "abc", "epochs": "0", "momentun": "1"},
                             dataset="mock://random_data?sample=3")
    paths = {p.path for p in refusal.problems}
    assert {"$.model.layers[0].type", "$.model.layers[1].units", "$.hyperparameters.learning_rate", "$.hyperparameters.epochs",
            "$.hyperparameters.momentun"} <= paths, refusal
    assert any(p.startswith("$.dataset") for p in paths), refusal


# ---- the data ----

def test_missing_file(shared):
    refused(shared, "$.dataset", "nothing.csv", dataset=f"file://{shared.files}/nothing.csv")


def test_unknown_scheme(shared):
    refused(shared, "$.dataset", "ftp", dataset="ftp://example.org/data.csv")


CSV = "a,b,label\n" + "".join(f"{i % 7},{i % 3},{i % 2}\n" for i in range(100))


def test_a_file_outside_the_roots(shared, tmp_path):
    (tmp_path / "table.csv").write_text(CSV)
    refused(shared, "$.dataset", str(shared.files), dataset=f"file://{tmp_path}/table.csv")


def test_a_file_outside_the_roots_by_dots(shared, tmp_path):
    (tmp_path / "table.csv").write_text(CSV)
    way = os.path.relpath(tmp_path, shared.files)
    refused(shared, "$.dataset", str(shared.files), dataset=f"file://{shared.files}/{way}/table.csv")


def test_a_file_outside_the_roots_by_symlink(shared, tmp_path):
    (tmp_path / "table.csv").write_text(CSV)
    link = shared.files / "link.csv"
    link.symlink_to(tmp_path / "table.csv")
    try:
        refused(shared, "$.dataset", str(shared.files), dataset=f"file://{link}")
    finally:
        link.unlink()


def idx_folder(folder, *, images=20, rows=4, columns=4, labels=None):
    """An IDX folder as Fashion-MNIST's, gzipped, with tiny images."""
    folder.mkdir(parents=True)
    labels = labels or [i % 10 for i in range(images)]
    for part in ("train", "t10k"):
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as out:
            out.write(struct.pack(">IIII", 0x803, images, rows, columns) + bytes((i * 7) % 256 for i in range(images * rows * columns)))
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as out:
            out.write(struct.pack(">II", 0x801, images) + bytes(labels))
    return folder


IMAGE_LAYERS = [{"type": "flatten"}, {"type": "dense", "units": 10}]


def test_truncated_gzip(shared):
    folder = idx_folder(shared.files / "truncated")
    try:
        for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
            path = folder / name
            path.write_bytes(path.read_bytes()[:-12])
        refused(shared, "$.dataset", "ubyte.gz", dataset=f"file://{folder}", layers=IMAGE_LAYERS)
    finally:
        shutil.rmtree(folder)


def test_gzip_truncated_within_the_pixels_fails_with_the_file_named(shared):
    """Pixels are not read at submit; the attempt then fails, is not retried, and says why."""
    folder = idx_folder(shared.files / "truncated-pixels", images=5000)
    try:
        path = folder / "train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:-40])
        try:
            response = shared.submit(dataset=f"file://{folder}", layers=IMAGE_LAYERS)
        except grpc.RpcError as error:
            assert "train-images-idx3-ubyte.gz" in error.details()
            return
        status = shared.wait(response.job_id)
        assert status.state == job_pb2.JOB_STATE_FAILED and status.attempt == 1, status
        assert "train-images-idx3-ubyte.gz" in status.error.message, status
    finally:
        shutil.rmtree(folder)


def test_labels_beyond_the_classes(shared):
    folder = idx_folder(shared.files / "labels", labels=[i % 12 for i in range(20)])
    try:
        refusal = shared.refusal(dataset=f"file://{folder}", layers=IMAGE_LAYERS)
        assert refusal.code == INVALID, refusal
        assert "12" in refusal.text() and "10" in refusal.text(), refusal
    finally:
        shutil.rmtree(folder)


def test_a_csv_cell_of_text_is_named_by_row_and_column(shared):
    table = shared.files / "text.csv"
    table.write_text("width,height,label\n1,2,0\n3,oops,1\n")
    try:
        refused(shared, "$.dataset", "height", "oops", "text.csv", "3",
                dataset=f"file://{table}", layers=[{"type": "dense", "units": 2}])
    finally:
        table.unlink()


def test_an_unknown_label_column_is_refused_with_the_nearest(shared):
    table = shared.files / "columns.csv"
    table.write_text(CSV)
    try:
        refused(shared, "$.dataset", "labl", "label", dataset=f"file://{table}?label=labl", layers=[{"type": "dense", "units": 2}])
    finally:
        table.unlink()


def test_a_good_csv_trains(shared):
    table = shared.files / "good.csv"
    table.write_text(CSV)
    try:
        response = shared.submit(dataset=f"file://{table}?label=label", layers=[{"type": "dense", "units": 2}])
        assert "train_loss" in shared.succeed(response.job_id).result.final_metrics
    finally:
        table.unlink()


# ---- requests ----

def test_unknown_job_on_every_method(shared):
    control = control_pb2_grpc.JobControlServiceStub(shared.channel)
    calls = {
        "GetJobStatus": lambda: shared.jobs.GetJobStatus(job_pb2.GetJobStatusRequest(job_id="nope")),
        "CancelJob": lambda: shared.jobs.CancelJob(job_pb2.CancelJobRequest(job_id="nope")),
        "DeleteJob": lambda: shared.jobs.DeleteJob(job_pb2.DeleteJobRequest(job_id="nope")),
        "StreamJobUpdates": lambda: list(shared.jobs.StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id="nope"))),
        "ReadLog": lambda: list(shared.log_service.ReadLog(log_pb2.ReadLogRequest(job_id="nope"))),
        "DownloadModel": lambda: list(shared.models.DownloadModel(deployment_pb2.DownloadModelMetadataRequest(model_id="nope"))),
        "DownloadMetadata": lambda: shared.models.DownloadMetadata(
            deployment_pb2.DownloadModelMetadataRequest(model_id="nope")),
        "UpdateJobStatus": lambda: shared.job_status_service.UpdateJobStatus(node_pb2.UpdateJobStatusRequest(
            node_id=shared.nodes[0].id, job_id="nope", status=common_pb2.STATUS_IN_PROGRESS)),
        "ReportJobResult": lambda: shared.job_status_service.ReportJobResult(node_pb2.ReportJobResultRequest(
            node_id=shared.nodes[0].id, job_id="nope", final_status=common_pb2.STATUS_COMPLETED)),
        "ReportCompletion": lambda: shared.node_service.ReportCompletion(node_pb2.ReportCompletionRequest(
            node_id=shared.nodes[0].id, job_id="nope", attempt=1, result=job_pb2.JobResult(
                job_id="nope", status=common_pb2.STATUS_COMPLETED))),
        "NotifyJobAccepted": lambda: shared.node_service.NotifyJobAccepted(node_pb2.JobAcceptedRequest(
            node_id=shared.nodes[0].id, job_id="nope")),
        "ListJobs": lambda: shared.jobs.ListJobs(job_pb2.ListJobsRequest(array_id="nope")),
        "PauseJob": lambda: control.PauseJob(control_pb2.PauseJobRequest(job_id="nope")),
        "ResumeJob": lambda: control.ResumeJob(control_pb2.ResumeJobRequest(job_id="nope")),
        "RetryJob": lambda: control.RetryJob(control_pb2.RetryJobRequest(job_id="nope")),
        "SetJobPriority": lambda: control.SetJobPriority(control_pb2.SetJobPriorityRequest(job_id="nope")),
        "ExplainJob": lambda: control.ExplainJob(control_pb2.ExplainJobRequest(job_id="nope")),
        "ListEvents": lambda: control.ListEvents(control_pb2.ListEventsRequest(job_id="nope")),
        "FollowEvents": lambda: list(control.FollowEvents(control_pb2.ListEventsRequest(job_id="nope"))),
    }
    for name, call in calls.items():
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND, f"{name}: {caught.value.code()} {caught.value.details()}"
        assert "nope" in caught.value.details(), name
    for method, path, body in (
            ("GET", "", None), ("DELETE", "", None), ("POST", "/cancel", None), ("POST", "/pause", None), ("POST", "/resume", None),
            ("POST", "/retry", None), ("POST", "/priority?priority=PRIORITY_HIGH", None), ("GET", "/explain", None),
            ("GET", "/events", None)):
        path = "/api/v1/jobs/nope" + path
        status, headers, problem = shared.rest(method, path, body)
        assert status == 404 and "nope" in problem["detail"], (method, path, problem)
        assert headers["Content-Type"].startswith("application/problem+json")


def test_a_report_for_an_unknown_job_is_answered_with_stop(shared):
    try:
        response = shared.node_service.ReportProgress(node_pb2.ReportProgressRequest(
            node_id=shared.nodes[0].id, job_id="nope", attempt=1))
        assert not response.continue_job
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED), error
        assert error.details()


@pytest.mark.parametrize("page_size", [-1, -2**31])
def test_negative_page_size(shared, page_size):
    with pytest.raises(grpc.RpcError) as caught:
        shared.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=page_size))
    assert caught.value.code() == INVALID
    assert "page_size" in caught.value.details() and str(page_size) in caught.value.details()


def test_a_foreign_page_token(shared):
    with pytest.raises(grpc.RpcError) as caught:
        shared.jobs.ListJobs(job_pb2.ListJobsRequest(page_token="garbage"))
    assert caught.value.code() == INVALID and "page_token" in caught.value.details()


def test_data_within_the_request_is_refused_with_the_other_problems(shared):
    with pytest.raises(grpc.RpcError) as caught:
        shared.jobs.SubmitJob(job_pb2.SubmitJobRequest(config=job(hyperparameters={"epochs": "0"}), initial_data=b"abc"))
    assert caught.value.code() == INVALID
    assert "$.initial_data" in caught.value.details() and "3 bytes" in caught.value.details()
    assert "$.hyperparameters.epochs" in caught.value.details()


def test_a_message_over_the_size_limit(shared):
    with pytest.raises(grpc.RpcError) as caught:
        shared.jobs.SubmitJob(job_pb2.SubmitJobRequest(config=job(), initial_data=bytes(64 << 20)), timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, caught.value
    assert "larger than max" in caught.value.details(), "gRPC names both sizes"
    # Over REST the announced length is enough; nothing of the body is waited for.
    connection = http.client.HTTPConnection(shared.server.ready["rest"].replace("http://", ""), timeout=30)
    connection.putrequest("POST", "/api/v1/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(64 << 20))
    connection.endheaders()
    response = connection.getresponse()
    problem = json.loads(response.read())
    connection.close()
    assert response.status == 413 and problem["status"] == 413 and problem["detail"], problem
    assert shared.server.alive


@pytest.mark.parametrize("job_id", ["a/b", "../x", "x" * 1000, "a b", "\x07"])
def test_a_job_id_that_is_no_name(shared, job_id):
    refusal = shared.refusal(job_id=job_id)
    assert refusal.code == INVALID and "job_id" in refusal.text(), refusal


def test_the_same_id_and_body_is_the_same_job(shared):
    first = shared.submit(job_id="twice")
    again = shared.submit(job_id="twice")
    assert first.job_id == again.job_id == "twice"
    assert len([s for s in shared.list_jobs() if s.job_id == "twice"]) == 1
    shared.succeed("twice")
    assert shared.submit(job_id="twice").job_id == "twice", "also once it has ended"
    assert shared.status("twice").attempt == 1, "and it is not run again"


def test_the_same_id_with_another_body_is_refused(shared):
    shared.submit(job_id="taken")
    refusal = shared.refusal(job_id="taken", hyperparameters={"learning_rate": "0.5"})
    assert refusal.code == grpc.StatusCode.ALREADY_EXISTS and "taken" in refusal.message, refusal
    shared.succeed("taken")


# ---- resources ----

def test_a_job_larger_than_every_node_is_refused_with_the_numbers(shared):
    refusal = shared.refusal(resources={"cpu_millis": 64_000})
    assert refusal.code in (INVALID, grpc.StatusCode.FAILED_PRECONDITION), refusal
    assert "64" in refusal.text() and "2" in refusal.text(), refusal


def test_without_any_node_a_job_waits_and_says_so(server_only):
    response = server_only.submit(resources={"cpu_millis": 64_000})
    assert response.assigned_node_id == ""
    status = server_only.status(response.job_id)
    assert status.state == job_pb2.JOB_STATE_QUEUED
    assert "node" in status.message and [r.code for r in status.reasons] == ["NO_NODES"], status


@pytest.mark.parametrize("field", ["name", "user_id"])
def test_a_body_seen_before_does_not_let_a_bad_name_through(shared, field):
    shared.succeed(shared.submit(job()).job_id)
    for text in ("a\x07b", "two\nlines", "x" * 257):
        refusal = shared.refusal(job(**{field: text}))
        assert refusal.code == INVALID, refusal
        assert refusal.problem({"name": "$.name", "user_id": "$.user"}[field])


def test_a_report_with_too_many_metrics_is_refused(shared):
    metrics = {f"m{i}": 1.0 for i in range(1000)}
    with pytest.raises(grpc.RpcError) as error:
        shared.job_status_service.UpdateJobStatus(node_pb2.UpdateJobStatusRequest(
            node_id=shared.nodes[0].id, job_id="none", metrics=metrics))
    assert error.value.code() == INVALID and "at most 256" in error.value.details()
