"""Data of each format, from a file to a trained model, with the real programs."""

import gzip
import io
import json
import pathlib
import shutil
import struct
import tarfile
import zipfile

import pytest

from cluster import cli
from formats import npy, png

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
LICENSES = "/usr/share/common-licenses"


def example(name, **hyperparameters):
    job = json.loads((EXAMPLES / name).read_text())
    job["hyperparameters"].update(hyperparameters)
    return job


def train(cluster, job, folder):
    """Runs the job; the metrics at its end, and its model.json."""
    (folder / "job.json").write_text(json.dumps(job))
    done = cluster.cli("submit", str(folder / "job.json"), "--wait", "--json", timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    final = json.loads(done.stdout.splitlines()[-1])
    done = cluster.cli("download", final["job_id"], "-o", str(folder / "model"))
    assert done.returncode == 0, done.stderr
    return final["metrics"], json.loads((folder / "model" / "model.json").read_text())


def test_text_is_learnt_byte_by_byte(make_cluster, tmp_path):
    cluster = make_cluster(data_roots=[LICENSES])
    cluster.add_node()
    # ln(256) = 5.55 is the loss of knowing nothing, about 3.2 that of knowing how often each byte occurs.
    for name in ("gpl-3-gpt.json", "gpl-3-lstm.json"):
        folder = tmp_path / name
        folder.mkdir()
        metrics, _ = train(cluster, example(name, epochs=1), folder)
        after = train(cluster, example(name, epochs=4), folder)[0]
        assert after["test_loss"] < metrics["test_loss"] < 5, (metrics, after)
        assert after["test_loss"] < 2.9 and after["test_accuracy"] > 0.2, after
        assert after["test_perplexity"] < 256, after


def test_a_table_with_categories_and_missing_values(make_cluster, tmp_path):
    shutil.copy(EXAMPLES / "data" / "flats.csv", tmp_path)
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    job = example("flats.json")
    job["dataset"] = job["dataset"].replace("/srv/data", str(tmp_path))
    metrics, model = train(cluster, job, tmp_path)
    assert metrics["test_r2"] > 0.9, metrics
    data = model["data"]
    assert data["label"] == "rent"
    assert data["columns"][0] == {"name": "city", "categories": ["bergen", "oslo", "tromso"], "encoding": "one_hot"}
    assert len(data["normalize"]["mean"]) == 9 == model["model"]["input_shape"][0]


def test_a_folder_of_images(make_cluster, tmp_path):
    for name, low in (("dark", 20), ("light", 180)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(30):
            (tmp_path / "set" / name / f"{i}.png").write_bytes(png(low + i, 10 + i % 3))
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    job = {"model": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 2}]},
           "hyperparameters": {"learning_rate": 0.05, "epochs": 10, "batch_size": 8, "seed": 1},
           "dataset": f"file://{tmp_path}/set?format=images&size=8&normalize=true&flip=true&crop=1"
                      "&test_split=0.25&split=stratified"}
    metrics, model = train(cluster, job, tmp_path)
    assert metrics["test_accuracy"] == 1, metrics
    assert model["data"]["classes"] == ["dark", "light"]


def test_numpy_arrays(make_cluster, tmp_path):
    labels = [i % 2 for i in range(64)]
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", npy("<f4", (64, 2), struct.pack("<128f", *(
            v for label in labels for v in (label - 0.5, 0.5)))))
        archive.writestr("labels.npy", npy("<i8", (64,), struct.pack("<64q", *labels)))
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    job = {"model": {"layers": [{"type": "dense", "units": 2}]},
           "hyperparameters": {"learning_rate": 0.1, "epochs": 5, "batch_size": 8},
           "dataset": f"file://{tmp_path}/a.npz?test_split=0.25"}
    assert train(cluster, job, tmp_path)[0]["test_accuracy"] == 1


def write_shards(folder, shards, each):
    """Archives of images that are dark (class 0) or light (class 1)."""
    folder.mkdir()
    images = [png(20 + 160 * (i % 2) + i % 7, 8) for i in range(14)]
    for shard in range(shards):
        with tarfile.open(folder / f"train-{shard:02}.tar", "w") as tar:
            for i in range(each):
                for ending, content in ((".png", images[i % 14]), (".cls", str(i % 2).encode())):
                    info = tarfile.TarInfo(f"{shard:02}/{i:06}{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def shards_job(dataset, **hyperparameters):
    return {"model": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 2}]},
            "hyperparameters": {"learning_rate": 0.001, "epochs": 2, "batch_size": 16, "seed": 1, "validation_split": 0.1} | hyperparameters,
            "dataset": dataset}


def test_archives_in_memory_and_stored(make_cluster, tmp_path):
    write_shards(tmp_path / "set", 3, 40)
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    parameters = "test_split=0.25&split=stratified&normalize=true&brightness=0.1&mixup=0.2"
    job = shards_job(f"file://{tmp_path}/set/train-{{00..02}}.tar?{parameters}", epochs=5)
    metrics, model = train(cluster, job, tmp_path)
    assert metrics["test_accuracy"] == 1 and "dataset_sha256" in model, metrics
    assert cluster.cli("dataset", "put", str(tmp_path / "set"), "--name", "shards").returncode == 0
    for path in ("?format=webdataset&", "/train-{00..02}.tar?"):
        job["dataset"] = f"dataset://shards@1{path}{parameters}"
        again, stored = train(cluster, job, tmp_path)
        assert stored["weights_sha256"] == model["weights_sha256"], (again, metrics)
    job["dataset"] = "dataset://shards@1/train-{00..03}.tar"
    (tmp_path / "job.json").write_text(json.dumps(job))
    refused = cluster.cli("submit", str(tmp_path / "job.json"))
    assert refused.returncode != 0 and "train-03.tar" in refused.stderr, refused


def test_data_larger_than_the_jobs_memory_is_streamed(make_cluster, tmp_path):
    # 6000 images that become 64 KiB each: 375 MiB, of which the test part is read too.
    write_shards(tmp_path / "set", 6, 1000)
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    dataset = f"file://{tmp_path}/set?format=webdataset&size=256&test_split=0.1&normalize=true&stream_memory=8MiB&window=500"
    job = shards_job(dataset, epochs=1, learning_rate=1e-5) | {"resources": {"memory": "240MiB"}}
    metrics, _ = train(cluster, job, tmp_path)
    assert metrics["test_accuracy"] == 1 and metrics["validation_accuracy"] == 1, metrics
    # The same in memory does not fit.
    job["dataset"] += "&stream=false"
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = cluster.cli("submit", str(tmp_path / "job.json"), "--wait", "--json", timeout=180)
    assert done.returncode != 0 and "memory" in done.stdout + done.stderr, done


def write_arrays(folder, samples, side):
    """Images of floats, as write_shards makes them: one array that is not compressed, labels beside it."""
    folder.mkdir()
    rows = [struct.pack("<f", (20 + 160 * (i % 2) + i % 7) / 255) * side * side for i in range(14)]
    with (folder / "x.npy").open("wb") as file:
        file.write(npy("<f4", (samples, 1, side, side), b""))
        for i in range(samples):
            file.write(rows[i % 14])
    (folder / "y.npy").write_bytes(npy("|u1", (samples,), bytes(i % 2 for i in range(samples))))
    return f"file://{folder}/x.npy?labels={folder}/y.npy"


def test_arrays_larger_than_the_jobs_memory_are_streamed(make_cluster, tmp_path):
    dataset = write_arrays(tmp_path / "set", 1500, 256)  # 375 MiB
    cluster = make_cluster(data_roots=[str(tmp_path)])
    cluster.add_node()
    job = shards_job(f"{dataset}&test_split=0.1&normalize=true&stream_memory=8MiB&window=500", epochs=1, learning_rate=1e-5)
    job["resources"] = {"memory": "240MiB"}
    metrics, _ = train(cluster, job, tmp_path)
    assert metrics["test_accuracy"] == 1 and metrics["validation_accuracy"] == 1, metrics

    def refusal(dataset):
        (tmp_path / "job.json").write_text(json.dumps(job | {"dataset": dataset}))
        refused = cluster.cli("submit", str(tmp_path / "job.json"))
        assert refused.returncode != 0, refused
        return refused.stderr

    # What must be in memory and does not fit is refused at submit, with the numbers and what to do.
    said = refusal(f"{dataset}&stream=false")
    assert "$.resources.memory" in said and "375 MiB" in said and "240 MiB" in said and "leave stream=false out" in said, said
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 1000)
    job["resources"] = {"memory": "10KiB"}
    said = refusal(f"file://{table}")
    assert "$.resources.memory" in said and "31.2 KiB" in said and "take data that is streamed" in said, said
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(npy("|u1", (4, 2), bytes(8))))
    (tmp_path / "y.npy").write_bytes(npy("|u1", (4,), bytes(4)))
    said = refusal(f"file://{tmp_path}/x.npy.gz?labels={tmp_path}/y.npy&stream=true")
    assert "cannot be streamed" in said and "not compressed" in said, said


def write_folders(folder, each):
    """A folder of images that are dark, and one of such that are light."""
    for label, low in (("dark", 20), ("light", 180)):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            (folder / label / f"{i:04}.png").write_bytes(png(low + i % 7, 8))
    return f"file://{folder}?format=images&size=64"


@pytest.mark.parametrize("kind", ("archives", "array", "images"))
def test_a_streamed_training_that_is_killed_ends_with_the_same_bits(tmp_path, kind):
    if kind == "archives":
        write_shards(tmp_path / "set", 5, 200)
        dataset = f"file://{tmp_path}/set?format=webdataset&size=64"
    else:
        dataset = write_arrays(tmp_path / "set", 1000, 64) + "&normalize=true" if kind == "array" else write_folders(tmp_path / "set", 500)
    job = shards_job(f"{dataset}&stream=true&window=100&stream_memory=1MiB&flip=true&mixup=0.3", epochs=6)
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = cli("verify", str(tmp_path / "job.json"), "--kills", "3", "--data-root", str(tmp_path), "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["same"], done
