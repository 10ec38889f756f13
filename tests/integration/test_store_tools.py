"""cyxwiz-central-server check, backup, restore and export, against servers that run and that do not."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import threading

import grpc

from cluster import BIN, job, long_job, wait_gone
from cyxwiz.protocol import job_pb2


def tool(*arguments, timeout=60):
    return subprocess.run([str(BIN / "cyxwiz-central-server"), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout)


def succeed(*arguments):
    done = tool(*arguments)
    assert done.returncode == 0, done
    return done.stdout


def ids(path):
    """The jobs in a backup."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT id FROM jobs")}


def ready(cluster):
    grpc.channel_ready_future(cluster.channel).result(10)


def test_check_looks_at_stopped_killed_and_damaged_data_but_not_below_a_running_server(cluster):
    done = cluster.succeed(cluster.submit(job(job_id="done")).job_id)
    cluster.submit(job(job_id="waiting", resources={"cpus": 2}, after=["done"]))
    refused = tool("check", cluster.data)
    assert refused.returncode == 1 and f"process {cluster.server.pid}" in refused.stderr, refused
    assert "backup" in refused.stderr, refused
    cluster.server.kill()
    assert (cluster.data / "jobs.db-wal").stat().st_size > 0
    before = (cluster.data / "jobs.db-wal").read_bytes()
    assert "2 jobs" in succeed("check", cluster.data, "--deep")
    assert (cluster.data / "jobs.db-wal").read_bytes() == before, "checking changed the log"

    artifact = cluster.data / "artifacts" / "sha256" / done.result.artifacts[0].sha256[:2] / done.result.artifacts[0].sha256
    content = artifact.read_bytes()
    artifact.chmod(0o600)
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert tool("check", cluster.data).returncode == 0
    deep = tool("check", cluster.data, "--deep")
    assert deep.returncode == 1 and str(artifact) in deep.stdout and "done" in deep.stdout, deep
    artifact.unlink()
    missing = tool("check", cluster.data)
    assert missing.returncode == 1 and str(artifact) in missing.stdout and "restore" in missing.stderr, missing


def test_usage(tmp_path):
    for arguments in (["check"], ["backup", "--data", tmp_path], ["backup", "-o", tmp_path / "x"],
                      ["restore", tmp_path / "x"], ["export", "--what"],
                      ["backup", "--data", tmp_path, "--server", "127.0.0.1:1", "-o", tmp_path / "x"]):
        done = tool(*arguments)
        assert done.returncode == 2 and "--help" in done.stderr, done
    for command in ("check", "backup", "restore", "export"):
        assert command in succeed(command, "--help")
    nothing = tool("backup", "--server", "127.0.0.1:1", "-o", tmp_path / "x")
    assert nothing.returncode == 1 and "127.0.0.1:1" in nothing.stderr, nothing
    empty = tool("check", tmp_path)
    assert empty.returncode == 1 and str(tmp_path / "jobs.db") in empty.stderr, empty
    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_a_running_server_holds_all_that_was_acknowledged_before(make_cluster, tmp_path):
    cluster = make_cluster()
    layers = [{"type": "dense", "units": 10}]
    before = {cluster.submit(job(layers=layers, hyperparameters={"seed": str(i)})).job_id for i in range(300)}
    during, stop = set(), threading.Event()

    def submit():
        i = 0
        while not stop.is_set():
            during.add(cluster.submit(job(layers=layers, hyperparameters={"seed": str(1000 + i)})).job_id)
            i += 1

    sender = threading.Thread(target=submit)
    sender.start()
    try:
        for i in range(3):
            path = tmp_path / f"backup{i}"
            assert str(path) in succeed("backup", "--server", cluster.address, "-o", path)
            assert before <= ids(path)
            succeed("check", path)
    finally:
        stop.set()
        sender.join()
    assert during and before <= ids(path) <= before | during
    assert not (cluster.data / "jobs.db.backup").exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["backup0", "backup1", "backup2"]
    assert cluster.server.terminate() == 0
    succeed("backup", "--data", cluster.data, "-o", tmp_path / "offline")
    assert ids(tmp_path / "offline") == before | during


def test_a_backup_that_cannot_be_written_leaves_nothing_and_the_server_goes_on(make_cluster, tmp_path):
    cluster = make_cluster()
    cluster.submit(job())
    done = tool("backup", "--server", cluster.address, "-o", tmp_path / "absent" / "backup")
    assert done.returncode == 1 and str(tmp_path / "absent" / "backup") in done.stderr, done
    assert cluster.submit(job()).job_id
    assert succeed("backup", "--server", cluster.address, "-o", tmp_path / "backup")


def test_export_of_a_running_server_and_of_its_data_are_the_same_history(cluster, tmp_path):
    done = cluster.submit(job(job_id="done", name="näme", user="ann")).job_id
    cluster.succeed(done)
    cluster.wait_running(cluster.submit(long_job(job_id="long")).job_id)
    waiting = cluster.submit(job(job_id="waiting", resources={"cpus": 2})).job_id
    lines = [json.loads(line) for line in succeed("export", "--server", cluster.address).splitlines()]
    kinds = [line["record"] for line in lines]
    assert kinds[0] == "export" and kinds.count("node") == 1
    jobs = {line["job"]: line for line in lines if line["record"] == "job"}
    assert {name: line["state"] for name, line in jobs.items()} == {
        done: "Succeeded", "long": "Running", waiting: "Queued"}
    assert (jobs[done]["name"], jobs[done]["user"]) == ("näme", "ann")
    attempts = [line for line in lines if line["record"] == "attempt"]
    assert [(a["job"], a["attempt"], "ended_ms" in a) for a in attempts if a["job"] == done] == [(done, 1, True)]
    assert [(a["job"], a["attempt"], "ended_ms" in a) for a in attempts if a["job"] == "long"] == [("long", 1, False)]
    changes = [(e["from"], e["to"]) for e in lines if e["record"] == "event" and e.get("job") == done and "from" in e]
    assert changes == [("Queued", "Assigned"), ("Assigned", "Running"), ("Running", "Succeeded")]

    assert cluster.server.terminate() == 0
    path = tmp_path / "history.jsonl"
    succeed("export", "--data", cluster.data, "-o", path)
    stopped = [json.loads(line) for line in path.read_text().splitlines()]
    events = [line for line in lines if line["record"] == "event"]
    assert [line for line in stopped if line["record"] == "event"][:len(events)] == events


def test_after_a_restore_nothing_of_what_ran_meanwhile_is_taken_and_every_job_ends_once(make_cluster, tmp_path):
    """The backup knows `old`, in its first attempt. Then `old` goes on to a later one on another node and `new` begins: of
    both the restored server knows nothing."""
    cluster = make_cluster(lease_ms=2000, heartbeat_interval_ms=100)
    first = cluster.add_node(cpus=1)
    old = cluster.submit(long_job(job_id="old", resources={"cpus": 1})).job_id
    cluster.wait_running(old)
    backup = tmp_path / "backup"
    succeed("backup", "--server", cluster.address, "-o", backup)

    second = cluster.add_node(cpus=1)
    first.kill()
    cluster.wait(old, lambda s: s.state == job_pb2.JOB_STATE_RUNNING and s.attempt == 2 and s.progress > 0)
    first.start()
    new = cluster.submit(long_job(job_id="new", resources={"cpus": 1})).job_id
    cluster.wait_running(new)
    attempts = {r for n in (first, second) for r in n.runners()}
    assert len(attempts) == 2

    cluster.server.kill()
    refused = tool("restore", backup, "--data", cluster.data)
    assert refused.returncode == 1 and "--replace" in refused.stderr, refused
    key = (cluster.data / "job_token_key.pem").read_bytes()
    succeed("restore", backup, "--data", cluster.data, "--replace")
    assert "old" in ids(cluster.data / "jobs.db") and "new" not in ids(cluster.data / "jobs.db")
    cluster.start_server()
    ready(cluster)
    assert (cluster.data / "job_token_key.pem").read_bytes() != key

    # Submitted again under its id, as a client does that has not seen it end; it is another job now.
    assert cluster.submit(job(job_id="new", resources={"cpus": 1}, hyperparameters={"epochs": "3"})).job_id == "new"
    cluster.wait(old, lambda s: s.state == job_pb2.JOB_STATE_RUNNING and s.attempt > 10_000 and s.progress > 0)
    result = cluster.succeed("new")
    assert result.status.total_epochs == 3, "the result is that of the job as it is now"
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=old))
    cluster.wait(old)
    left = wait_gone(attempts, 10)
    assert not left, "an attempt from before the restore runs on"
    # Each attempt that the history knows ended once.
    lines = [json.loads(line) for line in succeed("export", "--server", cluster.address).splitlines()]
    ends = [(e["job"], e["to"]) for e in lines if e["record"] == "event" and e.get("to") in ("Succeeded", "Cancelled", "Failed")]
    assert sorted(ends) == [("new", "Succeeded"), ("old", "Cancelled")], ends


def test_a_restore_into_a_new_folder_and_of_something_that_is_no_backup(make_cluster, tmp_path):
    cluster = make_cluster()
    kept = cluster.submit(job()).job_id
    backup = tmp_path / "backup"
    succeed("backup", "--server", cluster.address, "-o", backup)
    refused = tool("restore", backup, "--data", cluster.data, "--replace")
    assert refused.returncode == 1 and f"process {cluster.server.pid}" in refused.stderr, refused
    assert cluster.server.terminate() == 0

    damaged = tmp_path / "damaged"
    damaged.write_bytes(backup.read_bytes()[:3 * 4096])
    for bad in (damaged, tmp_path / "absent", __file__):
        refused = tool("restore", bad, "--data", tmp_path / "data")
        assert refused.returncode == 1 and str(bad) in refused.stderr, refused
    assert not (tmp_path / "data").exists()
    succeed("restore", backup, "--data", tmp_path / "data")
    shutil.rmtree(cluster.data)
    (tmp_path / "data").rename(cluster.data)
    cluster.start_server()
    ready(cluster)
    assert [s.job_id for s in cluster.list_jobs()] == [kept]
