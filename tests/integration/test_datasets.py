"""Data sets that the server keeps: put, listed, removed, and read by jobs as dataset://name@version."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import threading
import time

import grpc
import pytest

import cyxwiz
from cluster import BIN, FINAL, job, job_pb2, long_job
from formats import idx, npy, png
from cyxwiz.protocol import dataset_pb2, dataset_pb2_grpc, deployment_pb2

LAYERS = [{"type": "dense", "units": 2}]


def table(rows=60, start=0):
    return "a,b,kind\n" + "".join(f"{i % 7},{i % 5},{'odd' if i % 2 else 'even'}\n" for i in range(start, start + rows))


def put(cluster, *arguments):
    done = cluster.cli("dataset", "put", *map(str, arguments), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def train(cluster, data, **fields):
    return cluster.succeed(cluster.submit(job(dataset=data, layers=fields.pop("layers", LAYERS), **fields)).job_id)


def measured(response):
    return {k: v for k, v in response.result.final_metrics.items() if k not in ("samples_per_second",)}


def log(cluster, response):
    return "\n".join(cluster.client().logs(response.status.job_id))


def stored(cluster):
    """Files in the server's store of data sets."""
    return sorted(p.name for p in (cluster.data / "datasets" / "sha256").rglob("*") if p.is_file())


def test_put_list_train_and_remove(cluster, tmp_path):
    (tmp_path / "kinds.csv").write_text(table())
    first = put(cluster, tmp_path / "kinds.csv")
    assert (first["name"], first["version"], first["files"], first["sent_files"]) == ("kinds", "1", 1, 1)
    assert first["uri"] == "dataset://kinds@1" and first["existed"] is False
    # Nothing has changed: neither a version nor a byte more.
    again = put(cluster, tmp_path / "kinds.csv")
    assert (again["version"], again["existed"], again["sent_files"]) == ("1", True, 0)

    (cluster.files / "kinds.csv").write_text(table())
    options = "?test_split=0.25&split_seed=3&normalize=true"
    of_file = train(cluster, f"file://{cluster.files}/kinds.csv{options}", hyperparameters={"seed": "7"})
    of_set = train(cluster, f"dataset://kinds@1{options}", hyperparameters={"seed": "7"})
    assert measured(of_set) == measured(of_file)
    assert "getting the data set kinds@1 from the server: 1 of 1 file" in log(cluster, of_set)
    # What the server has written into the job.
    config = of_set.config
    assert config.dataset_uri == f"dataset://kinds@1/kinds.csv{options}"
    assert config.dataset_from.manifest_sha256 == first["sha256"] and config.dataset_from.size == len(table())
    cluster.client().download(of_set.status.job_id, tmp_path / "model")
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["dataset_sha256"] == first["sha256"]

    # The second job needs no transfer; neither does one after a restart of the node.
    assert "the data set kinds@1 is here already" in log(cluster, train(cluster, "dataset://kinds" + options))
    cluster.nodes[0].terminate()
    cluster.nodes[0].start()
    assert "the data set kinds@1 is here already" in log(cluster, train(cluster, "dataset://kinds" + options))

    # An evaluation reads it too.
    evaluation = cluster.client().evaluate(of_set.status.job_id, "dataset://kinds@1" + options)
    assert cluster.client().wait(evaluation).metrics["test_accuracy"] == of_set.result.final_metrics["test_accuracy"]

    listed = cluster.cli("dataset", "ls", "kinds", "--json")
    assert [d["version"] for d in json.loads(listed.stdout)["datasets"]] == ["1"]
    done = cluster.cli("dataset", "rm", "kinds@1")
    assert (done.returncode, done.stdout) == (0, "Removed kinds@1\n"), done.stderr
    assert stored(cluster) == []
    assert cluster.cli("dataset", "ls", "kinds").returncode == 3


def test_every_format_is_read_as_from_files(cluster, tmp_path):
    root = cluster.files
    labels = [i % 2 for i in range(40)]
    for part, count in (("train", 40), ("t10k", 10)):
        (root / "idx").mkdir(exist_ok=True)
        (root / "idx" / f"{part}-images-idx3-ubyte").write_bytes(idx([count, 4, 4], [labels[i] * 100 + j for i in range(count) for j in range(16)]))
        (root / "idx" / f"{part}-labels-idx1-ubyte").write_bytes(idx([count], labels[:count]))
    (root / "arrays").mkdir()
    (root / "arrays" / "x.npy").write_bytes(npy("<f4", (40, 2), struct.pack("<80f", *(v for l in labels for v in (l, 1 - l)))))
    (root / "arrays" / "y.npy").write_bytes(npy("<i8", (40,), struct.pack("<40q", *labels)))
    for name, low in (("dark side", 20), ("light", 180)):
        (root / "images" / name).mkdir(parents=True)
        for i in range(20):
            (root / "images" / name / f"{i}.png").write_bytes(png(low + i))
    (root / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    (root / ".hidden").write_text("secret")

    assert put(cluster, root, "--name", "all")["left_out"] == 1
    flat = [{"type": "flatten"}, {"type": "dense", "units": 2}]
    lstm = [{"type": "embedding", "input_dim": 256, "output_dim": 8}, {"type": "dense", "units": 256}]
    for path, query, layers in (
            ("/idx", "", flat), ("/idx/train-images-idx3-ubyte", "?labels={}/idx/train-labels-idx1-ubyte&test_split=0.2", flat),
            ("/arrays/x.npy", "?labels={}/arrays/y.npy&test_split=0.2", LAYERS),
            ("/images", "?format=images&normalize=true&test_split=0.25&split=stratified", flat),
            ("/text.txt", "?sequence_length=16&test_split=0.2", lstm)):
        options = {"layers": layers, "hyperparameters": {"seed": "1", "epochs": "1"}}
        of_file = train(cluster, f"file://{root}{path}{query.format(root)}", **options)
        of_set = train(cluster, "dataset://all@1" + path + query.replace("{}/", ""), **options)
        assert measured(of_set) == measured(of_file), path


def test_a_job_keeps_the_version_that_it_was_accepted_with(make_cluster, tmp_path):
    cluster = make_cluster()
    (tmp_path / "t.csv").write_text(table())
    first = put(cluster, tmp_path / "t.csv")
    waiting = cluster.submit(job(dataset="dataset://t?test_split=0.2", layers=LAYERS)).job_id
    (tmp_path / "t.csv").write_text(table(80))
    assert put(cluster, tmp_path / "t.csv")["version"] == "2"
    done = cluster.cli("dataset", "rm", "t@1")
    assert done.returncode == 4 and f"needed by a job that has not ended: {waiting}" in done.stderr, done.stderr
    # Also by a server that has been started again.
    cluster.server.kill()
    cluster.start_server()
    assert cluster.cli("dataset", "rm", "t@1").returncode == 4
    assert cluster.cli("dataset", "rm", "t@2").returncode == 0
    cluster.add_node()
    ended = cluster.succeed(waiting)
    assert ended.config.dataset_from.version == "1" and ended.config.dataset_from.manifest_sha256 == first["sha256"]
    assert cluster.cli("dataset", "rm", "t@1").returncode == 0
    # The number of a version that is gone is not given again.
    assert put(cluster, tmp_path / "t.csv")["version"] == "3"


def test_equal_content_is_stored_and_sent_once(cluster, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x.csv").write_text(table())
    (folder / "same.csv").write_text(table())
    (folder / "empty").write_text("")
    one = put(cluster, folder)
    assert (one["files"], one["sent_files"]) == (3, 2)
    other = put(cluster, folder, "--name", "b", "--version", "spring")
    assert other["sha256"] == one["sha256"] and other["sent_files"] == 0
    assert len(stored(cluster)) == 3  # two files and a manifest
    # While one name has it, the other can go, whatever runs.
    running = cluster.submit(long_job()).job_id
    waiting = cluster.submit(job(dataset="dataset://b/x.csv", layers=LAYERS, after=[running])).job_id
    assert cluster.cli("dataset", "rm", "a@1").returncode == 0
    assert cluster.cli("dataset", "rm", "b@spring").returncode == 4
    cluster.client().cancel(running)
    cluster.wait(running)
    cluster.wait(waiting)
    assert cluster.cli("dataset", "rm", "b@spring").returncode == 0
    assert stored(cluster) == []


def test_wrong_names_are_refused_with_what_is_known(server_only, tmp_path):
    cluster = server_only
    (tmp_path / "flats.csv").write_text(table())
    put(cluster, tmp_path / "flats.csv")
    put(cluster, tmp_path / "flats.csv", "--version", "spring")
    for uri, said in (
            ("dataset://flast", "there is no data set 'flast'"), ("dataset://flast", "did you mean 'flats'?"),
            ("dataset://flats@9", "it has spring, 1"), ("dataset://flats@1/falts.csv", "has no such file or folder"),
            ("dataset://../etc", "the URI names no data set"), ("dataset://flats@1/../x", "is not usable"),
            ("dataset://flats@1?labe=kind", "did you mean 'label'"), ("dataset://flats@1?label=kin", "'kin'"),
            ("dataset://flats@1/%2e%2e/%2e%2e/etc/passwd", "is not usable"),
            ("dataset://flats@1?format=npy&labels=../../x", "no path within the data set"),
            ("dataset://flats@1?format=npy&labels=x.npy", "x.npy")):
        text = cluster.refusal(job(dataset=uri, layers=LAYERS)).text()
        assert said in text and str(cluster.data) not in text, (uri, text)
        assert "$.dataset" in text
    # What only the server says of a job is not taken from a client.
    config = job(dataset="mock://random_data")
    config.dataset_from.manifest_sha256 = "0" * 64
    accepted = cluster.submit(config).job_id
    assert not cluster.get(accepted).config.HasField("dataset_from")
    cluster.client().cancel(accepted)

    for arguments, code in ((["put", str(tmp_path / "no")], 3), (["put", str(tmp_path), "--name", "a/b"], 2),
                            (["put", "/dev/null", "--name", "x"], 4), (["rm", "flats"], 2), (["rm", "flats@9"], 3),
                            (["rm", "no@1"], 3), (["ls", "no"], 3), (["lss"], 2), ([], 2)):
        done = cluster.cli("dataset", *arguments)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
    (tmp_path / "flats.csv").write_text(table(10))
    done = cluster.cli("dataset", "put", str(tmp_path / "flats.csv"), "--version", "1")
    assert done.returncode == 4 and "a version never changes" in done.stderr
    for command in ("put", "ls", "rm"):
        done = cluster.cli("dataset", command, "--help")
        assert done.returncode == 0 and f"cyxwiz dataset {command}" in done.stdout and "Examples:" in done.stdout


def test_wrong_manifests_are_refused(server_only):
    stub = dataset_pb2_grpc.DatasetServiceStub(server_only.channel)
    file = dataset_pb2.DatasetFile(path="a", sha256="0" * 64, size=1)
    for files in ([], [dataset_pb2.DatasetFile(path="../a", sha256="0" * 64, size=1)], [file, file],
                  [dataset_pb2.DatasetFile(path="/etc/passwd", sha256="0" * 64, size=1)],
                  [dataset_pb2.DatasetFile(path="a", sha256="x", size=1)],
                  [dataset_pb2.DatasetFile(path="a", sha256="0" * 64, size=-1)]):
        with pytest.raises(grpc.RpcError) as error:
            stub.PutDataset(dataset_pb2.PutDatasetRequest(name="x", files=files))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, error.value
    assert stub.PutDataset(dataset_pb2.PutDatasetRequest(name="x", files=[file])).missing == [0]


def test_an_upload_goes_on_where_it_was_broken_off(make_cluster, tmp_path):
    cluster = make_cluster()
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.bin").write_bytes(os.urandom(1 << 20))
    # The third file's last piece never comes: the client is killed while it waits for the server, which is stopped.
    sent = []

    def broken():
        client = cluster.client()

        def progress(done, total):
            sent.append(done)
            if len(sent) == 2:
                cluster.server.kill()
        with pytest.raises(cyxwiz.Unreachable):
            client.put_dataset(folder, progress=progress)
    broken()
    assert len(sent) == 2
    cluster.start_server()
    assert cluster.client().list_datasets() == []
    result = put(cluster, folder)
    assert (result["sent_files"], result["sent_bytes"]) == (2, 2 << 20)
    assert os.listdir(cluster.data / "datasets" / "incoming") == []


def test_a_file_that_changes_while_it_is_sent_is_refused(server_only, tmp_path):
    models = server_only.models
    data = b"other content"
    chunk = deployment_pb2.ModelChunk(model_id="sha256:" + hashlib.sha256(b"content").hexdigest(), data=data, dataset=True,
                                      total_size=len(data), is_final=True)
    with pytest.raises(grpc.RpcError) as error:
        models.UploadModel(iter([chunk]))
    assert error.value.code() == grpc.StatusCode.DATA_LOSS
    # A data set's file is none of the artifacts.
    path = tmp_path / "z.csv"
    path.write_text(table(5))
    server_only.client().put_dataset(path)
    with pytest.raises(grpc.RpcError) as error:
        list(models.DownloadModel(deployment_pb2.DownloadModelMetadataRequest(
            model_id="sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_cache_of_a_node_is_bounded_and_notices_damage(make_cluster, tmp_path):
    cluster = make_cluster()
    cluster.add_node(arguments=["--dataset-disk", "8KiB"])
    for name, start in (("one", 0), ("two", 1), ("three", 2)):
        (tmp_path / f"{name}.csv").write_text(table(350, start))  # some 3 KiB
        put(cluster, tmp_path / f"{name}.csv")
    cache = cluster.nodes[0].data / "datasets"

    def fetched(name):
        return "getting the data set" in log(cluster, train(cluster, f"dataset://{name}?test_split=0.2"))

    assert fetched("one") and fetched("two") and not fetched("one")
    assert fetched("three")  # pushes out the least lately used
    assert sum(p.stat().st_size for p in cache.iterdir()) <= 8192
    assert not fetched("one")
    assert fetched("two")
    # Nothing is left in the attempts' folders.
    assert not list((cluster.nodes[0].data / "attempts").rglob("*.csv"))
    # A bit that flips while the node is down is found.
    cluster.nodes[0].terminate()
    for path in cache.iterdir():
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
    cluster.nodes[0].start()
    assert fetched("two")
    assert "is damaged here and fetched again" in cluster.nodes[0].program.log()


def test_a_node_killed_while_it_trains_goes_on_with_the_cache(make_cluster, tmp_path):
    cluster = make_cluster(lease_ms=3000)
    node = cluster.add_node()
    (tmp_path / "t.csv").write_text(table(2000))
    put(cluster, tmp_path / "t.csv")
    id = cluster.submit(job(dataset="dataset://t", layers=LAYERS, hyperparameters={"epochs": "100000"})).job_id
    cluster.wait_running(id)
    node.kill()
    node.start()
    cluster.wait(id, lambda s: s.attempt >= 2 and s.state == job_pb2.JOB_STATE_RUNNING and s.progress > 0)
    assert "the data set t@1 is here already" in "\n".join(cluster.client().logs(id, attempt=2))
    cluster.client().cancel(id)
    cluster.wait(id)


def test_content_that_the_server_has_lost_is_told(cluster, tmp_path):
    (tmp_path / "t.csv").write_text(table())
    put(cluster, tmp_path / "t.csv")
    sha256 = hashlib.sha256(table().encode()).hexdigest()
    # Accepted while it was there.
    running = cluster.submit(long_job()).job_id
    waiting = cluster.submit(job(dataset="dataset://t", layers=LAYERS, after=[{"job": running, "condition": "end"}])).job_id
    (cluster.data / "datasets" / "sha256" / sha256[:2] / sha256).unlink()
    cluster.client().cancel(running)
    status = cluster.wait(waiting)
    assert status.state == job_pb2.JOB_STATE_FAILED and status.cause == job_pb2.CAUSE_DATA_UNAVAILABLE, status
    assert "the data set t@1 cannot be fetched" in status.error.message
    cluster.server.terminate()
    check = subprocess.run([str(BIN / "cyxwiz-central-server"), "check", str(cluster.data)], capture_output=True, text=True)
    assert "data set 't@1' lacks its file 't.csv'" in check.stdout + check.stderr, check
    cluster.start_server()
    # Putting it again heals it.
    assert put(cluster, tmp_path / "t.csv")["sent_files"] == 1
    train(cluster, "dataset://t")


def test_rest_and_python_do_the_same(cluster, tmp_path):
    content = table().encode()
    sha256 = hashlib.sha256(content).hexdigest()
    body = {"files": [{"path": "t.csv", "sha256": sha256, "size": len(content)}]}
    status, _, answer = cluster.rest("PUT", "/api/v1/datasets/t", body)
    assert (status, answer["missing"]) == (200, [0]) and "dataset" not in answer
    half = len(content) // 2
    status, _, answer = cluster.rest("PUT", f"/api/v1/dataset-files/{sha256}?offset=0&size={len(content)}", content[:half])
    assert (status, answer) == (200, {"received": half, "complete": False})
    status, _, answer = cluster.rest("PUT", f"/api/v1/dataset-files/{sha256}?offset={half}&size={len(content)}", content[half:])
    assert (status, answer) == (201, {"received": len(content), "complete": True})
    status, _, answer = cluster.rest("PUT", "/api/v1/datasets/t", body)
    assert (status, answer["dataset"]["version"]) == (201, "1")
    train(cluster, "dataset://t?test_split=0.2")

    client = cluster.client()
    (tmp_path / "t.csv").write_bytes(content)
    same = client.put_dataset(tmp_path / "t.csv")
    assert same.uri == "dataset://t@1" and same.sha256 == answer["dataset"]["sha256"] and same.files == 1
    assert client.list_datasets() == client.list_datasets("t") == [same]
    with pytest.raises(cyxwiz.NotFound):
        client.list_datasets("no")
    with pytest.raises(cyxwiz.Refused):
        client.put_dataset(tmp_path / "t.csv", name="a b")
    assert cluster.rest("GET", "/api/v1/datasets?name=no")[0] == 404
    client.remove_dataset(same)
    with pytest.raises(cyxwiz.NotFound):
        client.remove_dataset("t@1")
    assert cluster.rest("GET", "/api/v1/datasets")[2]["datasets"] == []


def test_a_training_on_prepared_data_is_that_on_its_source(cluster, tmp_path):
    (tmp_path / "t.csv").write_text(table(200))
    put(cluster, tmp_path / "t.csv")
    source = "dataset://t@1?test_split=0.25&split=stratified&normalize=true"
    done = cluster.cli("preprocess", source, "--to", "ready", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout)
    assert final["metrics"] == {"train_samples": 150, "test_samples": 50, "classes": 2}, final
    client = cluster.client()
    assert client.output(final["job_id"]) == "dataset://ready@1"
    # The same input gives the same bytes, and so the same content under the next number.
    again = client.preprocess(source, "ready")
    client.wait(again)
    one, two = client.list_datasets("ready")[::-1]
    assert (one.version, two.version, one.sha256) == ("1", "2", two.sha256)

    options = {"hyperparameters": {"seed": "3", "epochs": "3", "validation_split": "0.1"}}
    of_source, of_ready = train(cluster, source, **options), train(cluster, "dataset://ready", **options)
    assert measured(of_ready) == measured(of_source) and len(measured(of_ready)) > 3
    assert of_ready.result.model_weights_hash == of_source.result.model_weights_hash
    # Either model runs on either data.
    for model in (of_source, of_ready):
        for data in (source, "dataset://ready@1"):
            metrics = client.wait(client.evaluate(model.status.job_id, data)).metrics
            assert metrics["test_loss"] == of_source.result.final_metrics["test_loss"], (model.status.job_id, data)

    # Its files can be fetched, and read as files.
    paths = client.download(again, cluster.files / "ready")
    assert [p.name for p in paths] == ["dataset.json", "train.safetensors", "test.safetensors"]
    described = json.loads(paths[0].read_text())
    assert described["source"] == "dataset://t@1/t.csv?test_split=0.25&split=stratified&normalize=true"
    assert described["parts"]["train"]["class_counts"] == [75, 75] and len(described["statistics"]["mean"]) == 2
    of_files = train(cluster, f"file://{cluster.files}/ready/dataset.json", **options)
    assert measured(of_files) == measured(of_source)


def test_a_preprocessing_that_is_paused_ends_at_once_and_starts_anew(cluster):
    client = cluster.client()
    # Reading it takes far longer than asking: a runner that did not look would be done instead of paused.
    id = client.preprocess("mock://random_data?samples=600000&features=64", "large").job_id
    cluster.wait(id, until=lambda s: s.state in (job_pb2.JOB_STATE_ASSIGNED, job_pb2.JOB_STATE_RUNNING))
    client.pause(id)
    cluster.wait(id, until=lambda s: s.state == job_pb2.JOB_STATE_PAUSED)
    with pytest.raises(cyxwiz.NotFound):
        client.list_datasets("large")
    client.resume(id)
    assert client.wait(id).metrics["train_samples"] == 600_000
    assert client.list_datasets("large")[0].version == "1"


def test_wrong_preprocessings_are_refused(server_only, tmp_path):
    cluster = server_only

    def refused(data="mock://random_data", to="x", **fields):
        return cluster.refusal(cyxwiz.job_config(type="preprocessing", dataset=data, output_dataset=to, **fields)).text()

    assert "$.output_dataset is missing" in refused(to="") or "the data set to be made" in refused(to="")
    assert "is no name of a data set" in refused(to="a/b")
    assert "$.model" in refused(model={"layers": [{"type": "dense", "units": 2}]})
    assert "$.hyperparameters.learning_rate" in refused(hyperparameters={"learning_rate": 1})
    assert "$.array" in refused(array=3)
    assert "$.resources.nodes" in refused(resources={"nodes": 2})
    assert "only preprocessings make a data set" in cluster.refusal(job(output_dataset="x")).text()
    (cluster.files / "i.npy").write_text("")
    assert "there is no data set 'no'" in refused(data="dataset://no")
    # A version that is there with another content.
    (tmp_path / "x.csv").write_text(table())
    put(cluster, tmp_path / "x.csv", "--name", "taken")


def test_a_preprocessing_does_not_change_a_version(cluster, tmp_path):
    (tmp_path / "t.csv").write_text(table())
    put(cluster, tmp_path / "t.csv")
    client = cluster.client()
    submitted = client.preprocess("mock://random_data", "t@1")
    status = client.wait(submitted, check=False)
    assert status.state is cyxwiz.JobState.FAILED and "a version never changes" in status.error, status
    assert client.list_datasets("t")[0].files == 1


@pytest.mark.parametrize("change, said", [("longer", "bytes, found"), ("same length", "expected the content with SHA-256"),
                                          ("touched", "")])
def test_a_file_that_changes_between_submit_and_run(make_cluster, change, said):
    cluster = make_cluster()
    path = cluster.files / "t.csv"
    path.write_text(table())
    os.utime(path, (1_600_000_000, 1_600_000_000))
    waiting = cluster.submit(job(dataset=f"file://{path}?test_split=0.2", layers=LAYERS)).job_id
    config = cluster.get(waiting).config
    assert config.dataset_from.files_state == f"{len(table())}@1600000000000000000"
    path.write_text({"longer": table(70), "same length": table().replace("3,3,odd", "4,3,odd"), "touched": table()}[change])
    cluster.add_node()
    status = cluster.wait(waiting)
    if not said:
        assert status.state == job_pb2.JOB_STATE_SUCCEEDED, status
        return
    assert status.state == job_pb2.JOB_STATE_FAILED and status.cause == job_pb2.CAUSE_USER_ERROR, status
    assert "the data set has changed since the job was accepted" in status.error.message and said in status.error.message
    assert status.attempt == 1


@pytest.mark.parametrize("change", ("another", "less"))
def test_a_folder_of_images_that_changes_between_submit_and_run(make_cluster, change):
    cluster = make_cluster()
    images = cluster.files / "set"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for i in range(3):
            (images / label / f"{i}.png").write_bytes(png(i))
            os.utime(images / label / f"{i}.png", (1_600_000_000, 1_600_000_000))
    waiting = cluster.submit(job(dataset=f"file://{images}?format=images", layers=[{"type": "flatten"}, {"type": "dense", "units": 2}])).job_id
    if change == "less":
        (images / "b" / "1.png").unlink()
    else:
        (images / "b" / "1.png").write_bytes(png(9))
    cluster.add_node()
    status = cluster.wait(waiting)
    assert status.state == job_pb2.JOB_STATE_FAILED and status.cause == job_pb2.CAUSE_USER_ERROR, status
    assert "the data set has changed since the job was accepted" in status.error.message, status
    assert ("expected 6 files, found 5" if change == "less" else "expected the content with SHA-256") in status.error.message, status


def test_a_job_is_tried_again_while_its_version_is_kept(make_cluster, tmp_path):
    cluster = make_cluster()
    (tmp_path / "t.csv").write_text(table())
    put(cluster, tmp_path / "t.csv")
    client = cluster.client()
    failed = cluster.submit(job(dataset="dataset://t@1?test_split=0.2", layers=LAYERS)).job_id
    client.cancel(failed)
    again = client.retry(failed)
    assert cluster.get(again.job_id).config.dataset_from.version == "1"
    assert cluster.cli("dataset", "rm", "t@1").returncode == 4  # the new job needs it
    client.cancel(again)
    assert cluster.cli("dataset", "rm", "t@1").returncode == 0
    with pytest.raises(cyxwiz.Refused, match="'t@1', is not kept any more"):
        client.retry(failed)
    put(cluster, tmp_path / "t.csv", "--version", "1")
    cluster.add_node()
    client.wait(client.retry(failed))


def test_jobs_go_where_their_data_set_is_kept(make_cluster, tmp_path):
    cluster = make_cluster(heartbeat_interval_ms=100)
    for name in ("one", "two"):
        cluster.add_node(arguments=["--labels", f"name={name}"])
    (tmp_path / "kinds.csv").write_text(table())
    uri = put(cluster, tmp_path / "kinds.csv")["uri"]
    usual = cluster.succeed(cluster.submit(job()).job_id).status.current_node_id
    other = next(node for node in cluster.client().nodes() if node.node_id != usual)
    fetched = train(cluster, uri, node_labels=dict(other.labels))
    assert fetched.status.current_node_id == other.node_id
    # The node tells with its next heartbeat.
    deadline = time.monotonic() + 20
    while train(cluster, uri).status.current_node_id != other.node_id:
        assert time.monotonic() < deadline, "jobs go on to a node that has to fetch the data"
    assert [train(cluster, uri).status.current_node_id for _ in range(3)] == [other.node_id] * 3
    assert cluster.succeed(cluster.submit(job()).job_id).status.current_node_id == usual
