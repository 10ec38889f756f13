"""Evaluations and inferences: jobs that run a model which another job has trained."""

import csv
import json
import os
import signal
import struct

import grpc
import pytest

import cyxwiz
from cluster import job, job_pb2, long_job
from cyxwiz.protocol import control_pb2, control_pb2_grpc

FAILED, PAUSED, SUCCEEDED = job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_PAUSED, job_pb2.JOB_STATE_SUCCEEDED

DATA = "mock://random_data?samples=500&test_samples=211"
LAYERS = [{"type": "dense", "units": 16, "activation": "relu"}, {"type": "batch_normalization"}, {"type": "dense", "units": 10}]


def train(cluster, data=DATA, layers=None, **fields):
    return cluster.succeed(cluster.submit(job(dataset=data, layers=layers or LAYERS, **fields)).job_id)


def model(model_from, data=DATA, **fields):
    fields.setdefault("type", "evaluation")
    return cyxwiz.job_config(model_from=model_from, dataset=data, **fields)


def evaluate(cluster, model_from, data=DATA, **fields):
    return cluster.succeed(cluster.submit(model(model_from, data, **fields)).job_id)


def measured(metrics):
    return {name: value for name, value in metrics.items() if name.startswith("test_")}


def stored(cluster, sha256):
    """The file in the server's artifact store."""
    return cluster.data / "artifacts" / "sha256" / sha256[:2] / sha256


def flip(path):
    """Changes the last byte of a file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)


def log(cluster, id):
    return "\n".join(cluster.client().logs(id))


@pytest.fixture(scope="module")
def trained(shared):
    return train(shared, hyperparameters={"metrics": "accuracy, f1, confusion_matrix", "class_weights": "balanced"})


def test_an_evaluation_has_the_metrics_of_the_training_bit_for_bit(shared, trained):
    done = evaluate(shared, trained.status.job_id)
    assert measured(done.status.metrics) == measured(trained.result.final_metrics)
    assert len(measured(done.status.metrics)) == 3
    assert [a.name for a in done.result.artifacts] == ["evaluation.json"]
    assert done.result.model_weights_hash == "" and done.status.total_epochs == 0 and done.status.progress == 1

    # By the hashes of the files it is the same model.
    files = {a.name: a.sha256 for a in trained.result.artifacts}
    named = evaluate(shared, {"model": files["model.json"], "weights": files["weights.safetensors"]})
    assert measured(named.status.metrics) == measured(done.status.metrics)
    # What the server wrote into the job.
    config = shared.get(done.status.job_id).config
    assert config.model_from.model_sha256 == files["model.json"]
    assert config.model_from.weights_sha256 == files["weights.safetensors"]
    assert config.hyperparameters["loss"] == "cross_entropy" and "," in config.hyperparameters["class_weights"]


def test_predictions_of_all_forms_agree_with_each_other_and_the_accuracy(shared, trained, tmp_path):
    id, client = trained.status.job_id, shared.client()
    # CSV by the command line.
    done = shared.cli("predict", id, "--data", DATA, "-o", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert [f["name"] for f in json.loads(done.stdout)["files"]] == ["predictions.csv"]
    # The others from Python.
    for output in ("npy", "jsonl"):
        prediction = client.predict(id, DATA, output=output)
        client.wait(prediction)
        assert client.download(prediction, tmp_path) == [tmp_path / f"predictions.{output}"]
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    data = (tmp_path / "predictions.npy").read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00" and b"(211, 10)" in data[:128]
    values = struct.unpack(f"<{211 * 10}f", data[-211 * 10 * 4:])
    assert len(rows) == len(lines) == 211
    for i, (row, line) in enumerate(zip(rows, lines)):
        of_npy = values[i * 10:i * 10 + 10]
        as_float = [struct.unpack("<f", struct.pack("<f", v))[0] for v in line["probabilities"]]
        assert tuple(as_float) == of_npy
        assert [float(row[f"probability_{k}"]) for k in range(10)] == line["probabilities"]
        assert int(row["class"]) == line["class"] == max(range(10), key=lambda k: of_npy[k])
        assert int(row["sample"]) == line["sample"] == i
        assert abs(sum(of_npy) - 1) < 1e-5

    # The matrix of the same samples tells how often each class was predicted.
    evaluation = client.evaluate(id, DATA, metrics=["accuracy", "confusion_matrix"])
    metrics = client.wait(evaluation).metrics
    client.download(evaluation, tmp_path)
    counts = json.loads((tmp_path / "evaluation.json").read_text())["confusion_matrix"]["counts"]
    assert [sum(row[k] for row in counts) for k in range(10)] == [sum(l["class"] == k for l in lines) for k in range(10)]
    assert sum(counts[k][k] for k in range(10)) / 211 == metrics["test_accuracy"] == trained.result.final_metrics["test_accuracy"]


def test_tables_with_names_and_scales(cluster, tmp_path):
    def rows(names):
        return "a,b,species\n" + "".join(f"{i % 7},{100 * (i % 5)},{name}\n" for i, name in enumerate(names))

    (cluster.files / "old.csv").write_text(rows(["oak", "ash", "elm"][i % 3] for i in range(90)))
    (cluster.files / "new.csv").write_text(rows(["elm", "oak"][i % 2] for i in range(20)))
    (cluster.files / "bad.csv").write_text(rows(["elm", "yew"][i % 2] for i in range(20)))
    source = train(cluster, f"file://{cluster.files}/old.csv?normalize=true", [{"type": "dense", "units": 3}])
    done = evaluate(cluster, source.status.job_id, f"file://{cluster.files}/new.csv")
    assert done.status.metrics["test_loss"] > 0
    client = cluster.client()
    prediction = client.predict(source.status.job_id, f"file://{cluster.files}/new.csv", output="csv")
    client.wait(prediction)
    client.download(prediction, tmp_path)
    predicted = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert len(predicted) == 20 and {row["label"] for row in predicted} <= {"ash", "elm", "oak"}
    right = sum(row["label"] == ["elm", "oak"][i % 2] for i, row in enumerate(predicted))
    assert right / 20 == done.status.metrics["test_accuracy"]
    ended = cluster.wait(cluster.submit(model(source.status.job_id, f"file://{cluster.files}/bad.csv")).job_id)
    assert ended.state == FAILED and ended.cause == job_pb2.CAUSE_USER_ERROR and "'yew'" in ended.error.message


# ---- refusals


def refused(cluster, config):
    """What is wrong, by path."""
    found = {}
    for problem in cluster.refusal(config).problems:
        found[problem.path] = found.get(problem.path, "") + f"{problem.message}: {problem.found}\n"
    return found


def test_what_is_no_model_is_refused(shared, trained):
    id = trained.status.job_id
    assert "not known" in refused(shared, model("job-nobody-knows"))["$.model_from"]
    evaluation = evaluate(shared, id)
    assert "left no model" in refused(shared, model(evaluation.status.job_id))["$.model_from"]
    diverging = [{"type": "dense", "units": 16, "activation": "relu"}, {"type": "dense", "units": 10}]
    failed = shared.submit(job(layers=diverging, hyperparameters={"optimizer": "sgd", "learning_rate": "1e30"})).job_id
    assert shared.wait(failed).state == FAILED
    assert "left no model: Failed" in refused(shared, model(failed))["$.model_from"]
    running = shared.submit(long_job()).job_id
    try:
        shared.wait_running(running)
        assert "has not ended" in refused(shared, model(running))["$.model_from"]
    finally:
        shared.client().cancel(running)
    assert shared.wait(running).state == job_pb2.JOB_STATE_CANCELLED
    assert "left no model: Cancelled" in refused(shared, model(running))["$.model_from"]
    array = shared.submit(job(array=2)).job_id
    shared.succeed(array)
    assert "is an array" in refused(shared, model(array))["$.model_from"]
    evaluate(shared, array + ".1", "mock://random_data")


def test_everything_wrong_is_told_at_once(shared, trained):
    id = trained.status.job_id
    config = model("job-nobody-knows", "mock://random_data?features=3", type="inference", output="xml",
                   hyperparameters={"learning_rate": 1, "threads": -1}, epochs=2, array=3, resources={"cpus": 1})
    config.model_definition = "{}"
    found = refused(shared, config)
    assert set(found) == {"$.model_from", "$.model", "$.output", "$.hyperparameters.learning_rate",
                          "$.hyperparameters.threads", "$.epochs", "$.array"}
    # Once the model is known, the data is compared with it.
    found = refused(shared, model(id, "mock://random_data?features=3", hyperparameters={"loss": "mse"}))
    assert set(found) == {"$.hyperparameters.loss", "$.dataset"} and "not the shape" in found["$.dataset"]
    assert "beyond the model's outputs" in " ".join(refused(shared, model(id, "mock://random_data?classes=11")).values())
    assert "only evaluations and inferences" in refused(
        shared, job(model_from=id))["$.model_from"]
    # A file that the command line reads.
    done = shared.cli("submit", "-", input=json.dumps({"type": "evaluation", "dataset": DATA, "model": {"layers": []}}))
    assert done.returncode == 4 and "$.model: " in done.stderr


def test_missing_and_damaged_artifacts_are_refused(cluster):
    done = train(cluster)
    files = {a.name: stored(cluster, a.sha256) for a in done.result.artifacts}
    flip(files["model.json"])
    assert "damaged" in refused(cluster, model(done.status.job_id))["$.model_from"]
    for name in ("model.json", "weights.safetensors"):
        files[name].unlink()
        assert f"{name} is not in the artifact store" in refused(cluster, model(done.status.job_id))["$.model_from"]


# ---- what happens meanwhile


def test_the_source_may_be_deleted_once_the_job_is_accepted(cluster):
    done = train(cluster)
    client = cluster.client()
    client.cordon(cluster.nodes[0].id)
    id = cluster.submit(model(done.status.job_id)).job_id
    client.delete(done.status.job_id)
    cluster.server.kill()
    cluster.start_server()
    assert "not known" in refused(cluster, model(done.status.job_id))["$.model_from"]
    client.uncordon(cluster.nodes[0].id)
    assert measured(cluster.succeed(id).status.metrics) == measured(done.result.final_metrics)


def test_a_cancelled_evaluation_is_retried_without_its_source(cluster):
    done = train(cluster)
    client = cluster.client()
    client.cordon(cluster.nodes[0].id)
    id = cluster.submit(model(done.status.job_id)).job_id
    plan = client.explain(id)
    assert [r.code for r in plan.reasons] == ["NODES_CORDONED"]
    client.cancel(id)
    client.delete(done.status.job_id)
    again = client.retry(id).job_id
    client.uncordon(cluster.nodes[0].id)
    assert measured(cluster.succeed(again).status.metrics) == measured(done.result.final_metrics)


def test_a_node_fetches_weights_once_and_keeps_the_ones_used_last(make_cluster):
    cluster = make_cluster()
    a, b = (None, None)
    node = cluster.add_node(arguments=["--weights-disk", "4000"])
    a = train(cluster, hyperparameters={"seed": "1"}).status.job_id
    b = train(cluster, hyperparameters={"seed": "2"}).status.job_id
    size = cluster.get(a).result.model_size
    assert 2000 < size < 4000  # one fits
    fetched, here = "getting the model's weights from the server", "the model's weights are here already"
    for source, expected in ((a, fetched), (a, here), (b, fetched), (b, here), (a, fetched)):
        id = evaluate(cluster, source).status.job_id
        assert expected in log(cluster, id)
        kept = [p.name for p in (node.data / "weights").iterdir()]
        assert kept == [cluster.get(source).result.model_weights_hash]
    node.terminate()
    node.start()
    assert here in log(cluster, evaluate(cluster, a).status.job_id)


def test_damaged_weights_of_a_node_are_found_and_fetched_anew(cluster):
    done = train(cluster)
    id = done.status.job_id
    evaluate(cluster, id)
    flip(cluster.nodes[0].data / "weights" / done.result.model_weights_hash)
    again = evaluate(cluster, id)
    assert again.status.retries == 1 and again.status.attempt == 2
    assert measured(again.status.metrics) == measured(done.result.final_metrics)
    assert "the model's weights are damaged" in "\n".join(cluster.client().logs(again.status.job_id, attempt=1))


def test_damaged_weights_of_the_server_fail_the_job(cluster):
    done = train(cluster)
    flip(stored(cluster, done.result.model_weights_hash))
    ended = cluster.wait(cluster.submit(model(done.status.job_id, retries=0)).job_id)
    assert ended.state == FAILED and ended.cause == job_pb2.CAUSE_DATA_UNAVAILABLE
    assert "cannot be fetched" in ended.error.message and "arrived altered" in ended.error.message


# Takes seconds, so that it can be interrupted.
LONG = "mock://random_data?samples=64&test_samples=400000&features=16"
WIDE = [{"type": "dense", "units": 512, "activation": "relu"}, {"type": "dense", "units": 512, "activation": "relu"},
        {"type": "dense", "units": 10}]


@pytest.fixture
def long_inference(cluster):
    source = train(cluster, "mock://random_data?samples=64&test_samples=0&features=16", WIDE, hyperparameters={"epochs": "1"})
    id = cluster.submit(model(source.status.job_id, LONG, type="inference", output="npy",
                              hyperparameters={"threads": 1})).job_id
    cluster.wait_running(id)
    return id


def test_a_killed_runner_is_tried_again(cluster, long_inference):
    (runner,) = cluster.nodes[0].runners()
    os.kill(runner, signal.SIGKILL)
    done = cluster.succeed(long_inference, timeout=120)
    assert done.status.attempt == 2 and done.status.retries == 1
    assert [a.name for a in done.result.artifacts] == ["predictions.npy"]
    assert done.result.artifacts[0].size == 128 + 400000 * 10 * 4


def test_an_inference_is_paused_resumed_and_cancelled(cluster, long_inference):
    control = control_pb2_grpc.JobControlServiceStub(cluster.channel)
    control.PauseJob(control_pb2.PauseJobRequest(job_id=long_inference))
    assert not cluster.wait(long_inference, until=lambda s: s.state == PAUSED).HasField("checkpoint")
    control.ResumeJob(control_pb2.ResumeJobRequest(job_id=long_inference))
    running = cluster.wait_running(long_inference)
    assert running.attempt == 2 and running.metrics["samples_per_second"] > 0
    cluster.client().cancel(long_inference)
    ended = cluster.wait(long_inference, timeout=10)
    assert ended.state == job_pb2.JOB_STATE_CANCELLED
    assert cluster.get(long_inference).result.artifacts == [] and cluster.nodes[0].runners() == []


# ---- other ways in


def test_command_line_and_rest(shared, trained, tmp_path):
    id = trained.status.job_id
    done = shared.cli("evaluate", id, "--data", DATA, "--metrics", "f1,accuracy", "--name", "measured", "--wait")
    assert done.returncode == 0, done.stderr
    assert "Type       evaluation" in done.stdout and f"Model from {id}" in done.stdout and "evaluation.json" in done.stdout
    assert "Progress   100 %" in done.stdout and "measured" in done.stdout
    done = shared.cli("evaluate", id, "--data", DATA, "--wait", "--json")
    assert json.loads(done.stdout)["metrics"]["test_loss"] == trained.result.final_metrics["test_loss"]
    done = shared.cli("evaluate", id, "--data", DATA, "--metrics", "f2")
    assert done.returncode == 4 and "$.hyperparameters.metrics" in done.stderr
    done = shared.cli("predict", id, "--data", DATA)
    assert done.returncode == 0
    assert shared.succeed(done.stdout.strip()).result.artifacts[0].name == "predictions.csv"
    assert shared.cli("predict", id, "--data", DATA, "--output", "pickle").returncode == 2
    assert shared.cli("predict", "no-such-job", "--data", DATA, "-o", str(tmp_path / "no")).returncode == 4
    assert not (tmp_path / "no").exists()

    (tmp_path / "job.json").write_text(json.dumps({"type": "evaluation", "model_from": id, "dataset": DATA}))
    done = shared.cli("plan", str(tmp_path / "job.json"), "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["could_ever_run"]
    status, _, answer = shared.rest("POST", "/api/v1/jobs", {"type": "evaluation", "model_from": id, "dataset": DATA})
    assert status in (200, 201), answer
    assert measured(shared.succeed(answer["job_id"]).status.metrics) == measured(trained.result.final_metrics)


def test_a_node_takes_no_job_whose_model_was_not_looked_up(shared, trained):
    # An old client that knows nothing of model_from.
    with pytest.raises(grpc.RpcError) as caught:
        shared.submit(job_pb2.JobConfig(job_type=job_pb2.JOB_TYPE_EVALUATION, dataset_uri=DATA))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "which model?" in caught.value.details()
