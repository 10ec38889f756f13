"""A job file's content becomes the wire's JobConfig."""

import json
from datetime import datetime, timedelta, timezone

import pytest

import cyxwiz
from cyxwiz.protocol import common_pb2, job_pb2


def test_all_keys_arrive():
    config = cyxwiz.job_config({
        "name": "mlp",
        "type": "training",
        "priority": "high",
        "model": {"layers": [{"type": "dense", "units": 10}]},
        "hyperparameters": {"learning_rate": 1e-3, "nesterov": True, "batch_size": 32, "optimizer": "sgd"},
        "dataset": "mock://random_data",
        "resources": {"cpus": 1.5, "memory": "1GiB", "gpus": 1},
        "device": "cuda",
        "retries": 0,
    })
    assert config.name == "mlp"
    assert config.job_type == job_pb2.JOB_TYPE_TRAINING
    assert config.priority == job_pb2.PRIORITY_HIGH
    assert json.loads(config.model_definition) == {"layers": [{"type": "dense", "units": 10}]}
    assert dict(config.hyperparameters) == {
        "learning_rate": "0.001", "nesterov": "true", "batch_size": "32", "optimizer": "sgd"}
    assert config.dataset_uri == "mock://random_data"
    assert config.resources.cpu_millis == 1500 and config.resources.memory_bytes == 1 << 30
    assert config.resources.gpus == 1 and config.required_device == common_pb2.DEVICE_CUDA
    assert config.HasField("max_retries") and config.max_retries == 0


def test_a_share_of_a_gpu_arrives_in_thousandths():
    def asked(resources):
        return cyxwiz.job_config({"model": {}, "dataset": "mock://random_data", "resources": resources}).resources

    share = asked({"gpu_share": 0.25, "gpu_memory": "20GiB"})
    assert (share.gpus, share.gpu_share_millis, share.gpu_memory_bytes) == (0, 250, 20 << 30)
    assert asked({"gpu_memory_bytes": 7}).gpu_memory_bytes == 7
    with pytest.raises(ValueError, match="exclude each other"):
        asked({"gpus": 1, "gpu_share": 0.5})
    with pytest.raises(ValueError, match="gpu_share: expected a share of one GPU"):
        asked({"gpu_share": "half"})


def test_the_wires_names_are_accepted_too():
    config = cyxwiz.job_config({"job_type": "JOB_TYPE_TRAINING", "priority": "PRIORITY_LOW", "model_definition": "{}",
                                "dataset_uri": "mock://random_data", "max_retries": 3, "user_id": "me",
                                "required_device": "cpu", "resources": {"cpu_millis": 500, "memory_bytes": 7}})
    assert config.job_type == job_pb2.JOB_TYPE_TRAINING and config.priority == job_pb2.PRIORITY_LOW
    assert (config.model_definition, config.max_retries, config.user_id) == ("{}", 3, "me")
    assert config.required_device == common_pb2.DEVICE_CPU
    assert (config.resources.cpu_millis, config.resources.memory_bytes) == (500, 7)


@pytest.mark.parametrize("text, size", [("512MiB", 512 << 20), ("1.5 GB", 1_500_000_000), ("17", 17), ("2gib", 2 << 30)])
def test_memory_has_units(text, size):
    assert cyxwiz.job_config(resources={"memory": text}).resources.memory_bytes == size
    assert cyxwiz.job_config(estimated_memory=text).estimated_memory == size


def test_numbers_of_a_file_arrive_as_written(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"hyperparameters": {"learning_rate": 0.10, "epochs": 5}, "model": {"layers": [{"rate": 0.50}]}}')
    config = cyxwiz.job_config(path)
    assert dict(config.hyperparameters) == {"learning_rate": "0.10", "epochs": "5"}
    assert json.loads(config.model_definition) == {"layers": [{"rate": 0.5}]}


def test_fields_win_over_the_file(tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"name": "from file", "dataset": "mock://random_data"}))
    config = cyxwiz.job_config(path, name="given", epochs=3)
    assert (config.name, config.dataset_uri, config.epochs) == ("given", "mock://random_data", 3)


def test_a_priority_not_given_is_normal():
    assert cyxwiz.job_config(name="x").priority == job_pb2.PRIORITY_NORMAL
    assert cyxwiz.job_config(priority="low").priority == job_pb2.PRIORITY_LOW


def test_model_text_is_taken_as_it_is():
    # The server says what is wrong with it, so nothing is checked or changed here.
    assert cyxwiz.job_config(model="{not json").model_definition == "{not json"


def test_a_wrong_key_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown key 'modle'.*did you mean 'model'"):
        cyxwiz.job_config({"modle": {}})
    with pytest.raises(ValueError, match="unknown key 'memry'.*did you mean 'memory'"):
        cyxwiz.job_config(resources={"memry": 1})


def test_hashes_beside_the_uri_become_a_parameter_of_it():
    def uri(**dataset):
        return cyxwiz.job_config({"dataset": dataset}).dataset_uri

    assert uri(uri="https://h/t.csv", sha256="aa") == "https://h/t.csv#sha256=aa"
    assert uri(uri="https://h/t.csv#label=x", sha256="a&b") == "https://h/t.csv#label=x&sha256=a%26b"
    assert uri(uri="s3://bucket/x.npy?labels=y.npy", sha256={"x.npy": "aa", "y.npy": "bb"}) == (
        "s3://bucket/x.npy?labels=y.npy&sha256=x.npy:aa,y.npy:bb")


@pytest.mark.parametrize("job, message", [
    ({"priority": "urgent"}, "priority: expected one of low, normal, high, critical, found 'urgent'"),
    ({"epochs": 1.5}, "epochs: expected a whole number, found 1.5"),
    ({"epochs": True}, "epochs: expected a whole number, found True"),
    ({"epochs": 1 << 40}, "epochs"),
    ({"hyperparameters": {"a": None}}, "hyperparameters.a: expected"),
    ({"hyperparameters": []}, "hyperparameters: expected a mapping"),
    ({"model_from": 3}, "model_from: expected a mapping"),
    ({"model_from": {"weight": "a"}}, "model_from: unknown key 'weight'.*did you mean 'weights'"),
    ({"model_from": {"weights": 3}}, "model_from.weights: expected text"),
    ({"output": 3}, "output: expected text"),
    ({"model": 3}, "model: expected a mapping or JSON text"),
    ({"dataset": 3}, "dataset: expected text"),
    ({"dataset": {"url": "https://h/t.csv"}}, "unknown key 'url'"),
    ({"dataset": {"uri": "https://h/t.csv", "sha256": 3}}, "dataset.sha256: expected 64 hexadecimal digits"),
    ({"dataset": {"uri": "file:///t.csv", "sha256": "a"}}, "is for what is fetched"),
    ({"resources": {"memory": "much"}}, "resources.memory: expected an amount of memory"),
    ({"resources": {"memory": "1XB"}}, "resources.memory: expected an amount of memory"),
    ({"resources": {"cpus": "two"}}, "resources.cpus: expected a number of cores"),
    ({"resources": {"cpus": 1, "cpu_millis": 1000}}, "say the same thing"),
    ({"dataset": "mock://a", "dataset_uri": "mock://b"}, "'dataset_uri' is given twice"),
])
def test_a_value_of_the_wrong_kind_is_refused(job, message):
    with pytest.raises(ValueError, match=message):
        cyxwiz.job_config(job)


def test_a_file_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "job.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"job\.json: not a JSON file"):
        cyxwiz.job_config(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"job\.json: expected a JSON object"):
        cyxwiz.job_config(path)


def test_learning_rate_keeps_every_digit():
    assert cyxwiz.job_config(hyperparameters={"learning_rate": 0.1 + 0.2}).hyperparameters["learning_rate"] == repr(0.1 + 0.2)


def test_stub_modules_import():
    import importlib

    for name in ("common", "job", "node", "deployment", "log", "agent"):
        importlib.import_module(f"cyxwiz.protocol.{name}_pb2")
        importlib.import_module(f"cyxwiz.protocol.{name}_pb2_grpc")
    assert common_pb2.STATUS_COMPLETED == 5
    assert job_pb2.JobConfig.DESCRIPTOR.file.package == "cyxwiz.protocol"


def test_limits_dependencies_and_labels_arrive():
    config = cyxwiz.job_config({
        "limits": {"run": "1h30m", "queue": 60, "deadline": "2026-12-24T18:00:00Z", "log": "1MiB", "checkpoint": "2MiB"},
        "after": ["prepare", {"job": "cleanup", "condition": "end"}],
        "node_labels": {"zone": "west"},
        "pool": "gpu",
        "anti_affinity": "web",
        "project": "vision",
        "resources": {"disk": "10GiB", "named": {"licence": 2}, "nodes": 4, "elastic": {"min_nodes": 2}, "processes": 3},
    })
    limits = config.limits
    assert (limits.run_seconds, limits.queue_seconds, limits.deadline, limits.log_bytes) == (5400, 60, 1798135200, 1 << 20)
    assert limits.checkpoint_bytes == 2 << 20
    assert [(one.job_id, one.condition) for one in config.after] == [
        ("prepare", job_pb2.AFTER_SUCCESS), ("cleanup", job_pb2.AFTER_ANY_END)]
    assert dict(config.node_labels) == {"zone": "west", "pool": "gpu"}
    assert config.anti_affinity == "web"
    assert config.project == "vision"
    assert config.nodes == 4 and config.min_nodes == 2 and config.processes == 3
    assert config.resources.disk_bytes == 10 << 30 and dict(config.resources.named) == {"licence": 2}
    assert cyxwiz.job_config(after="prepare").after[0].job_id == "prepare"
    moment = datetime(2026, 12, 24, 19, 0, tzinfo=timezone(timedelta(hours=1)))
    limits = cyxwiz.job_config(limits={"run": timedelta(minutes=2), "deadline": moment}).limits
    assert (limits.run_seconds, limits.deadline) == (120, 1798135200)


def test_arrays_and_sweeps():
    config = cyxwiz.job_config({"array": {"max_parallel": 3}, "sweep": {"seed": [1, 2], "nesterov": [True]}})
    assert config.array.max_parallel == 3
    assert [(axis.name, list(axis.values)) for axis in config.array.grid] == [("nesterov", ["true"]), ("seed", ["1", "2"])]
    config = cyxwiz.job_config({"array": 7})
    assert config.array.size == 7
    config = cyxwiz.job_config({"sweep": [{"learning_rate": 0.1}]})
    assert dict(config.array.points[0].hyperparameters) == {"learning_rate": "0.1"}
    for wrong in ({"array": {"speed": 1}}, {"sweep": {"seed": 1}}, {"sweep": []}):
        with pytest.raises(ValueError):
            cyxwiz.job_config(wrong)


@pytest.mark.parametrize("wrong, message", [
    ({"limits": {"run": "soon"}}, "limits.run: expected seconds"),
    ({"limits": {"speed": 1}}, "unknown key 'speed'"),
    ({"limits": {"deadline": "2026-12-24T18:00:00"}}, "limits.deadline: expected"),
    ({"after": {"job": "a", "condition": "failure"}}, "after: expected"),
    ({"after": [1]}, "after: expected"),
    ({"node_labels": {"zone": 1}}, "node_labels: expected texts"),
    ({"node_labels": {"pool": "a"}, "pool": "b"}, "pool: differs"),
    ({"resources": {"named": {"licence": 1.5}}}, "named.licence: expected a whole number"),
])
def test_wrong_limits_dependencies_and_labels_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        cyxwiz.job_config(wrong)


def test_a_model_is_named_by_a_job_or_its_files():
    for source in ("job-1", {"job": "job-1"}, cyxwiz.Submission("job-1", "node-1")):
        config = cyxwiz.job_config(type="evaluation", model_from=source, dataset="mock://random_data",
                                   hyperparameters={"metrics": ["accuracy", "f1"]})
        assert config.job_type == job_pb2.JOB_TYPE_EVALUATION and config.model_from.job_id == "job-1"
        assert config.hyperparameters["metrics"] == "accuracy, f1" and not config.model_definition
    config = cyxwiz.job_config(type="inference", model_from={"model": "aa", "weights": "bb"}, output="csv")
    assert (config.model_from.model_sha256, config.model_from.weights_sha256) == ("aa", "bb") and config.output == "csv"
