"""From a file on disk to a trained model: Fashion-MNIST through the command line, as a user would."""

import json
import os

import pytest

import cyxwiz

FASHION_MNIST = "/usr/share/datasets/fashion-mnist"

JOB = {
    "name": "fashion-mnist",
    "type": "training",
    "model": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 128, "activation": "relu"},
                         {"type": "dense", "units": 10}]},
    "hyperparameters": {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 64, "epochs": 4, "seed": 1,
                        "validation_split": 0.1},
    "dataset": f"file://{FASHION_MNIST}",
}


def test_fashion_mnist_reaches_85_percent(make_cluster, tmp_path):
    assert os.path.isdir(FASHION_MNIST), "install the Debian package dataset-fashion-mnist"
    cluster = make_cluster(data_roots=[FASHION_MNIST])
    cluster.add_node()
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    done = cluster.cli("submit", str(path), "--wait", "--json", timeout=180)
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["metrics"]["test_accuracy"] >= 0.85, final
    assert final["metrics"]["validation_accuracy"] >= 0.85, final
    done = cluster.cli("download", final["job_id"], "-o", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    # 784 x 128 + 128 and 128 x 10 + 10 values of 4 bytes, and a header.
    size = (tmp_path / "model" / "weights.safetensors").stat().st_size
    assert 101_770 * 4 < size < 101_770 * 4 + 4096


def test_the_python_client_trains_the_same_way(shared, tmp_path):
    with cyxwiz.Client(shared.address) as client:
        submission = client.submit(model={"layers": [{"type": "dense", "units": 10}]}, dataset="mock://random_data",
                                   hyperparameters={"epochs": 5, "learning_rate": 0.01}, name="by python")
        assert submission.assigned_node_id == shared.nodes[0].id
        seen = list(client.watch(submission))
        assert seen[-1].state is cyxwiz.JobState.SUCCEEDED
        status = client.wait(submission, timeout=10)
        assert status.metrics["train_accuracy"] > 0.5 and status.result is not None
        weights = client.download(submission, tmp_path / "out")[0]
        assert weights.name == "weights.safetensors" and weights.stat().st_size == status.result.weights_size
        assert submission.job_id in [s.job_id for s in client.jobs()]
        assert any("epoch" in line for line in client.logs(submission))
        assert [n.node_id for n in client.nodes()] == [shared.nodes[0].id]
        client.delete(submission)
        with pytest.raises(cyxwiz.NotFound, match=submission.job_id):
            client.status(submission)


GRAPH = {"layers": [
    {"type": "dense", "name": "stem", "units": 16},
    {"type": "block", "name": "body", "repeat": 2, "residual": True, "activation": "relu", "layers": [
        {"type": "layer_normalization"}, {"type": "dense", "units": 16, "activation": "gelu"}]},
    {"type": "concatenate", "inputs": ["body", "stem"]},
    {"type": "reshape", "target_shape": [4, 8]},
    {"type": "transformer_encoder", "num_heads": 2, "feed_forward": 16},
    {"type": "lstm", "units": 12},
    {"type": "dense", "name": "head", "units": 10}]}


def test_a_graph_trains_and_its_model_file_is_a_model_again(shared, tmp_path):
    with cyxwiz.Client(shared.address) as client:
        first = client.submit(model=GRAPH, dataset="mock://random_data", hyperparameters={"epochs": 2, "seed": 3})
        assert client.wait(first, timeout=60).state is cyxwiz.JobState.SUCCEEDED
        client.download(first, tmp_path / "first")
        described = json.loads((tmp_path / "first" / "model.json").read_text())["model"]
        assert [layer["name"] for layer in described["layers"]][:4] == [
            "stem", "body.0.layer_normalization_1", "body.0.dense_1", "body.0.residual"]
        second = client.submit(model=described, dataset="mock://random_data",
                               hyperparameters={"epochs": 2, "seed": 3})
        assert client.wait(second, timeout=60).state is cyxwiz.JobState.SUCCEEDED
        client.download(second, tmp_path / "second")
    weights = [(tmp_path / folder / "weights.safetensors").read_bytes() for folder in ("first", "second")]
    names = json.loads(weights[0][8:8 + int.from_bytes(weights[0][:8], "little")])
    assert {"body.1.dense_1.weight", "transformer_encoder_1.self_attn.in_proj_weight",
            "lstm_1.weight_hh_l0"} <= set(names)
    assert weights[0] == weights[1]


def test_a_graph_can_be_planned(shared, tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"model": GRAPH, "dataset": "mock://random_data"}))
    done = shared.cli("plan", str(path))
    assert done.returncode == 0, done.stderr
