"""Small disasters of the server: each gives a clear error naming the cause, and nothing accepted is lost."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading
import time

import grpc
import pytest

from cluster import BIN, Program, StartFailed, job, mounted
from cyxwiz.protocol import job_pb2
from formats import npy
from web import Web, content


def test_killed_during_1000_submits_every_acknowledged_job_is_there_once(make_cluster):
    """128 in flight; the server is killed with SIGKILL when 300 are acknowledged. Afterwards a client that repeats what was
    not acknowledged, with the ids that it chose, gets exactly 1,000 jobs."""
    cluster = make_cluster()
    acknowledged, lock = set(), threading.Lock()
    enough, slots, finished = threading.Event(), threading.Semaphore(128), threading.Semaphore(0)

    def done(job_id, call):
        if call.exception() is None:
            with lock:
                acknowledged.add(call.result().job_id)
                if len(acknowledged) >= 300:
                    enough.set()
        slots.release()
        finished.release()

    def send(ids):
        for job_id in ids:
            slots.acquire()
            call = cluster.jobs.SubmitJob.future(
                job_pb2.SubmitJobRequest(config=job(job_id=job_id, name=job_id)), timeout=20)
            call.add_done_callback(lambda call, job_id=job_id: done(job_id, call))

    ids = [f"job-{i}" for i in range(1000)]
    sender = threading.Thread(target=send, args=(ids,))
    sender.start()
    assert enough.wait(60)
    cluster.server.kill()
    sender.join(60)
    for _ in ids:
        assert finished.acquire(timeout=60)
    assert 300 <= len(acknowledged) < 1000, len(acknowledged)

    cluster.start_server()
    grpc.channel_ready_future(cluster.channel).result(10)
    listed = [s.job_id for s in cluster.list_jobs()]
    assert len(listed) == len(set(listed)), "a job is there twice"
    assert acknowledged <= set(listed), f"lost: {sorted(acknowledged - set(listed))[:5]}"

    for job_id in ids:
        if job_id not in acknowledged:
            assert cluster.submit(job(job_id=job_id, name=job_id)).job_id == job_id
    listed = [s.job_id for s in cluster.list_jobs()]
    assert sorted(listed) == sorted(ids)


def start_server(folder, *, data=None, grpc_listen="127.0.0.1:0", rest_listen="127.0.0.1:0", more=()):
    """Starts a server that must not start; what it says and its exit code."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(StartFailed) as caught:
        program = Program("server", [
            str(BIN / "cyxwiz-central-server"), "--data", str(data or folder / "data"), "--grpc-listen", grpc_listen,
            "--rest-listen", rest_listen, *more], folder / "server.log")
        program.kill()
    assert caught.value.code > 0, f"ended by a signal, or hung: {caught.value}"
    return caught.value.log


@pytest.mark.parametrize("which", ["grpc_listen", "rest_listen"])
def test_a_port_in_use_is_named(tmp_path, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        log = start_server(tmp_path / "x", **{which: address})
    assert address in log and "in use" in log.lower(), log


def test_a_node_whose_port_is_in_use_says_so(make_cluster):
    cluster = make_cluster()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        with pytest.raises(StartFailed) as caught:
            cluster.add_node(arguments=["--listen", address])
    assert address in caught.value.log and "in use" in caught.value.log.lower(), caught.value.log


def test_a_data_folder_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    log = start_server(tmp_path / "x", data=tmp_path / "data")
    assert str(tmp_path / "data") in log and "folder" in log.lower() or "directory" in log.lower(), log


def test_a_data_folder_that_cannot_be_made(tmp_path):
    # Not even root can make a folder there.
    log = start_server(tmp_path / "x", data="/proc/cyxwiz")
    assert "/proc/cyxwiz" in log, log


def fill(path, most=1 << 40):
    """Writes zeros to `path` until the disk is full, or it has `most` bytes."""
    # Closing fails too when a part of the last piece is still in the buffer.
    with contextlib.suppress(OSError), path.open("wb") as out:
        while most > 0:
            most -= out.write(bytes(1 << 16))
            out.flush()


def test_a_read_only_data_folder(tmp_path):
    with mounted(tmp_path / "data", "size=1m,ro"):
        log = start_server(tmp_path / "x", data=tmp_path / "data")
    assert str(tmp_path / "data") in log and "ead-only" in log, log


@pytest.mark.skipif(os.getuid() == 0, reason="root writes where it likes")
def test_a_data_folder_that_is_not_writable(tmp_path):
    (tmp_path / "data").mkdir(mode=0o555)
    log = start_server(tmp_path / "x", data=tmp_path / "data")
    assert str(tmp_path / "data") in log and "ermission" in log, log


def test_a_second_server_on_the_same_data_is_refused(make_cluster, tmp_path):
    cluster = make_cluster()
    log = start_server(tmp_path / "x", data=cluster.data)
    assert str(cluster.data) in log and ("in use" in log or "open" in log or "another" in log), log
    assert cluster.submit(job()).job_id, "the first one goes on"


def database(data):
    found = [p for p in data.rglob("*") if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"]
    assert len(found) == 1, found
    return found[0]


def set_schema_version(path, version):
    """As a newer release would have left it: with the checksum of the first page, as src/store/sqlite/page_checksums.cc
    makes it."""
    content = bytearray(path.read_bytes())
    content[60:64] = struct.pack(">I", version)
    checksum = 0x43797857
    for (word,) in struct.iter_unpack("<Q", content[:4088]):
        checksum = (checksum ^ word) * 0xff51afd7ed558ccd & (1 << 64) - 1
        checksum ^= checksum >> 32
    content[4088:4096] = struct.pack("<Q", checksum)
    path.write_bytes(content)


def schema_version(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def test_a_schema_of_a_newer_release_is_refused_and_left_alone(make_cluster, tmp_path):
    cluster = make_cluster()
    cluster.submit(job(job_id="kept"))
    assert cluster.server.terminate() == 0
    path = database(cluster.data)
    version = schema_version(path)
    set_schema_version(path, 999)
    log = start_server(tmp_path / "x", data=cluster.data)
    assert "999" in log and str(version) in log and str(path) in log, log
    assert schema_version(path) == 999
    set_schema_version(path, version)
    cluster.start_server()
    grpc.channel_ready_future(cluster.channel).result(10)
    assert cluster.status("kept").state == job_pb2.JOB_STATE_QUEUED


def test_a_file_that_is_no_database_is_refused_and_left_alone(make_cluster, tmp_path):
    cluster = make_cluster()
    assert cluster.server.terminate() == 0
    path = database(cluster.data)
    path.write_bytes(b"something else entirely" * 1000)
    log = start_server(tmp_path / "x", data=cluster.data)
    assert str(path) in log, log
    assert path.read_bytes().startswith(b"something else")


def test_a_full_disk_refuses_work_and_recovers_by_itself(tmp_path, make_cluster):
    data = tmp_path / "small"
    with mounted(data, "size=32m"):
        cluster = make_cluster(data=data / "data")
        kept = cluster.submit(job(name="before")).job_id
        ballast = data / "ballast"
        fill(ballast)
        accepted, refusal = [kept], None
        model = [{"type": "dense", "units": 10}]
        for i in range(5000):
            try:
                # Each body is new, so that each needs room.
                accepted.append(cluster.submit(job(layers=model, hyperparameters={"seed": str(i)})).job_id)
            except grpc.RpcError as error:
                refusal = error
                break
        assert refusal is not None, "5,000 jobs went onto a full disk"
        assert refusal.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, refusal
        assert "disk" in refusal.details() or "space" in refusal.details(), refusal.details()
        assert cluster.status(kept).state == job_pb2.JOB_STATE_QUEUED, "reading goes on"
        assert cluster.rest("GET", "/readyz")[0] == 503
        ballast.unlink()
        deadline = time.monotonic() + 20
        while True:
            try:
                accepted.append(cluster.submit(job(name="after")).job_id)
                break
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < deadline, error
        assert cluster.rest("GET", "/readyz")[0] == 200
        cluster.server.kill()
        cluster.start_server()
        grpc.channel_ready_future(cluster.channel).result(10)
        assert {s.job_id for s in cluster.list_jobs()} >= set(accepted), "an accepted job was lost"
        cluster.stop()


def test_a_result_larger_than_the_server_takes_fails_the_job_with_the_numbers(make_cluster):
    cluster = make_cluster(server_arguments=["--max-artifact-bytes", "100"])
    cluster.add_node()
    status = cluster.wait(cluster.submit(job(max_retries=0)).job_id)
    assert (status.state, status.cause) == (job_pb2.JOB_STATE_FAILED, job_pb2.CAUSE_INTERNAL), status
    assert "artifacts of at most 100" in status.error.message, status


def test_a_node_without_room_takes_nothing_and_recovers_by_itself(make_cluster):
    cluster = make_cluster()
    with mounted(cluster.folder / "node1", "size=16m"):
        node = cluster.add_node("node1", arguments=["--min-free-disk-bytes", str(8 << 20)])
        assert cluster.succeed(cluster.submit(job()).job_id)
        ballast = node.data / "ballast"
        fill(ballast, 12 << 20)
        job_id = cluster.submit(job(max_retries=0)).job_id
        status = cluster.wait(job_id, lambda s: "min_free_disk_bytes" in s.message)
        assert status.state == job_pb2.JOB_STATE_QUEUED and "8.0 MiB" in status.message, status
        ballast.unlink()
        assert cluster.succeed(job_id)
        assert cluster.status(job_id).retries == 0
        node.terminate()


def test_a_disk_that_fills_up_under_a_job_does_not_fail_it(make_cluster):
    """The weights do not fit any more: the attempt is lost and the job tried again, though it has no retries."""
    cluster = make_cluster()
    with mounted(cluster.folder / "node1", "size=32m"):
        node = cluster.add_node("node1", arguments=["--min-free-disk-bytes", "0"])
        big = job(layers=[{"type": "dense", "units": 50_000}, {"type": "dense", "units": 10}],
                  hyperparameters={"epochs": "6", "batch_size": "100"}, max_retries=0)
        job_id = cluster.submit(big).job_id
        cluster.wait_running(job_id)
        ballast = node.data / "ballast"
        fill(ballast)
        status = cluster.wait(job_id, lambda s: "No space left" in s.message)
        assert (status.state, status.cause, status.retries) == (
            job_pb2.JOB_STATE_QUEUED, job_pb2.CAUSE_NODE_LOST, 0), status
        ballast.unlink()
        assert cluster.succeed(job_id)
        assert cluster.status(job_id).retries == 0
        assert node.program.alive
        node.terminate()


def test_a_full_store_of_data_sets_keeps_nothing_half(tmp_path, make_cluster):
    store = tmp_path / "data" / "datasets"
    with mounted(store, "size=12m"):
        cluster = make_cluster(data=tmp_path / "data")
        (tmp_path / "small.csv").write_text("a,b\n1,0\n3,1\n")
        assert cluster.cli("dataset", "put", str(tmp_path / "small.csv")).returncode == 0
        ballast = store / "ballast"
        fill(ballast, 6 << 20)
        (tmp_path / "set").mkdir()
        for name, size in (("a.npy", 1), ("b.npy", 8)):
            (tmp_path / "set" / name).write_bytes(os.urandom(size << 20))
        refused = cluster.cli("dataset", "put", str(tmp_path / "set"))
        assert refused.returncode != 0 and "No space left on device" in refused.stderr and "datasets" in refused.stderr, refused
        assert not any((store / "incoming").iterdir()), "a file that did not come whole stays"
        for path in (store / "sha256").rglob("*"):
            assert path.is_dir() or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        listed = json.loads(cluster.cli("dataset", "ls", "--json").stdout)["datasets"]
        assert [dataset["name"] for dataset in listed] == ["small"], "a version whose files are not all there"
        # All else goes on, and so does this when there is room.
        assert cluster.submit(job()).job_id and cluster.rest("GET", "/readyz")[0] == 200
        ballast.unlink()
        done = cluster.cli("dataset", "put", str(tmp_path / "set"), "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["version"] == "1", done
        cluster.stop()


def test_a_disk_that_fills_up_while_data_comes_keeps_nothing_of_it(tmp_path, make_cluster):
    web = Web(tmp_path)
    cluster = make_cluster()
    files = {"x.npy": npy("|u1", (1000, 8192), bytes(1000 * 8192)), "y.npy": npy("|u1", (1000,), bytes(i % 2 for i in range(1000)))}
    (tmp_path / "set").mkdir()
    for name, data in files.items():
        (tmp_path / "set" / name).write_bytes(data)
        web.route(f"/{name}", content(data))
    assert cluster.cli("dataset", "put", str(tmp_path / "set")).returncode == 0
    with mounted(cluster.folder / "node1", "size=24m"):
        node = cluster.add_node("node1", arguments=["--min-free-disk-bytes", "0", "--fetch-ca-file", str(web.ca_file),
                                                    "--fetch-allow", "127.0.0.0/8"])

        def data_of(part):
            return [path for path in (node.data / part).rglob("*") if path.is_file() and not path.name.startswith("log.")]

        ballast = node.data / "ballast"
        for dataset, says in ((f"{web.url('/x.npy')}#labels=y.npy", "No space left on device"),
                              ("dataset://set/x.npy?labels=y.npy", "the disk is too full for the data set set@1: expected 7.8 MiB")):
            fill(ballast, 18 << 20)
            id = cluster.submit(job(dataset=dataset, model={"input_shape": [8192], "layers": [{"type": "dense", "units": 2}]},
                                    hyperparameters={"epochs": "1", "batch_size": "100"}, max_retries=0)).job_id
            status = cluster.wait(id, lambda s: says in s.message)
            assert (status.state, status.cause, status.retries) == (job_pb2.JOB_STATE_QUEUED, job_pb2.CAUSE_NODE_LOST, 0), status
            deadline = time.monotonic() + 10
            while data_of("attempts"):  # it tidies up after it has told how an attempt ended
                assert time.monotonic() < deadline, data_of("attempts")
            assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in data_of("datasets"))
            assert not any(path.stat().st_size > 1 << 20 for path in data_of("datasets"))
            ballast.unlink()
            assert cluster.succeed(id)
            assert cluster.status(id).retries == 0
            # Kept for the next job; gone for the next case.
            kept = [node.data / "datasets" / hashlib.sha256(data).hexdigest() for data in files.values()]
            assert all(path.exists() for path in kept)
            node.terminate()
            shutil.rmtree(node.data / "datasets")
            node.start()
        node.terminate()
    web.close()


def test_fetching_leaves_the_minimum_of_the_disk_free(tmp_path, make_cluster):
    web = Web(tmp_path)
    rows = 5120  # 40 MiB
    url = web.route("/x.npy", content(npy("|u1", (rows, 8192), bytes(rows * 8192))))
    web.route("/y.npy", content(npy("|u1", (rows,), bytes(i % 2 for i in range(rows)))))
    cluster = make_cluster()
    with mounted(cluster.folder / "node1", "size=64m"):
        node = cluster.add_node("node1", arguments=["--min-free-disk-bytes", str(8 << 20), "--fetch-ca-file", str(web.ca_file),
                                                    "--fetch-allow", "127.0.0.0/8"])
        ballast = node.data / "ballast"
        fill(ballast, 26 << 20)
        # There is room for the job, and for the first 16 MiB of its data, and not for the next.
        id = cluster.submit(job(dataset=f"{url}#labels=y.npy", model={"input_shape": [8192], "layers": [{"type": "dense", "units": 2}]},
                                hyperparameters={"epochs": "1", "batch_size": "100"}, max_retries=0)).job_id
        status = cluster.wait(id, lambda s: "min_free_disk_bytes" in s.message)
        assert (status.state, status.cause) == (job_pb2.JOB_STATE_QUEUED, job_pb2.CAUSE_NODE_LOST), status
        assert "8.0 MiB" in status.message and "x.npy" in status.message, status
        ballast.unlink()
        assert cluster.succeed(id)
        node.terminate()
    web.close()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_another_address_than_loopback_is_refused_without_tls(tmp_path, address):
    log = start_server(tmp_path / "x", grpc_listen=address)
    assert "TLS" in log and "loopback" in log, log


def test_an_unknown_flag_is_refused_with_the_nearest(tmp_path):
    log = start_server(tmp_path / "x", more=["--lease-m", "5"])
    assert "--lease-m" in log and "--lease-ms" in log, log


def test_an_unknown_key_of_the_file_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "server.toml").write_text("[grpc]\nlistn = '127.0.0.1:0'\n")
    log = start_server(tmp_path / "x", more=["--config", str(tmp_path / "server.toml")])
    assert "grpc.listn" in log and "grpc.listen" in log, log
