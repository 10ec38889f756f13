"""The real binaries, killed, stopped and cut off at the worst moments. Whatever happens: nothing acknowledged is lost,
nothing ends twice, every state follows from the one before, and every job ends once things go well again.

The short form is part of `make test`. `make chaos` adds the long one: SECONDS of faults in random order, by SEED.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import grpc
import pytest

from cluster import BIN, BUILD, Program, StartFailed, channel, job, mounted
from conftest import LEASE
from cyxwiz.protocol import control_pb2, job_pb2, job_pb2_grpc
from history import History, tool
from proxy import MODES, Proxy

SERVER_FAILPOINTS = [f"server.{what}.{when}" for what in ("commit", "reply", "assign", "upload")
                     for when in ("before", "after")]
NODE_FAILPOINTS = [f"node.{what}.{when}" for what in ("assign", "upload", "completion") for when in ("before", "after")]
RUNNER_FAILPOINTS = [f"runner.{what}.{when}" for what in ("checkpoint", "result") for when in ("before", "after")]


def work(seconds=0.3, **fields):
    """Trains for about so many seconds and writes a checkpoint at every look at the clock."""
    return job(dataset="mock://random_data?samples=4000&features=64", layers=[{"type": "dense", "units": 64}, {
        "type": "dense", "units": 10}], hyperparameters={"epochs": str(max(1, round(seconds * 20))), "threads": "1",
                                                         "checkpoint_seconds": "0.05"}, max_retries=5, **fields)


def finish(history, folder):
    """Everything ends, agrees with what clients were told, and is sound on the disk. The attempts."""
    history.settle()
    attempts = history.check(folder)
    cluster = history.cluster
    for node in cluster.nodes:
        node.terminate()
    assert cluster.server.terminate() == 0
    tool("check", cluster.data, "--deep")
    return attempts


def wait_killed(program, timeout=20):
    """Waits until a failpoint has ended the program."""
    try:
        code = program.process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{program.name} did not come to its failpoint:\n{program.log()[-2000:]}") from None
    assert code == -signal.SIGKILL, f"{program.name} ended with {code}:\n{program.log()[-2000:]}"


def start_again(cluster):
    cluster.start_server()
    grpc.channel_ready_future(cluster.channel).result(10)


# ---- Kills ----

def test_the_server_is_killed_at_each_of_its_failpoints(chaos, tmp_path):
    chaos.add_node(cpus=4)
    history = History(chaos)
    for name in SERVER_FAILPOINTS:
        assert chaos.server.terminate() == 0
        # The first commits and replies are those of the node's registration.
        passes = 3 if "commit" in name or "reply" in name else 1
        with contextlib.suppress(StartFailed):
            chaos.start_server({"CYXWIZ_FAILPOINT": f"{name}:{passes}"})
            history.submit(f"job-{name}", work())
            wait_killed(chaos.server)
        start_again(chaos)
        history.submit(f"after-{name}", work())
    finish(history, tmp_path)


def pause(cluster, job_id):
    cluster.control.PauseJob(control_pb2.PauseJobRequest(job_id=job_id), timeout=5)


def resume(cluster, job_id):
    cluster.control.ResumeJob(control_pb2.ResumeJobRequest(job_id=job_id), timeout=5)


def set_priority(cluster, job_id):
    cluster.control.SetJobPriority(control_pb2.SetJobPriorityRequest(
        job_id=job_id, priority=job_pb2.PRIORITY_CRITICAL), timeout=5)


def cancel(cluster, job_id):
    cluster.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job_id), timeout=5)


def cancel_many(cluster, job_id):
    cluster.control.CancelJobs(control_pb2.CancelJobsRequest(user_id=job_id.replace("job", "user")), timeout=5)


# A command of clients, what is done to the job before, and whether the job shows its effect.
COMMANDS = [
    (pause, None, lambda status: status.state == job_pb2.JOB_STATE_PAUSED),
    (resume, pause, lambda status: status.state == job_pb2.JOB_STATE_QUEUED),
    (set_priority, None, lambda status: status.priority == job_pb2.PRIORITY_CRITICAL),
    (cancel, pause, lambda status: status.state == job_pb2.JOB_STATE_CANCELLED),
    (cancel_many, None, lambda status: status.state == job_pb2.JOB_STATE_CANCELLED),
]


def status_of(cluster, job_id):
    """Without what depends on other jobs, too."""
    status = cluster.status(job_id)
    for field in ("reasons", "message", "smallest_change", "queue_position", "estimated_start_time"):
        status.ClearField(field)
    return status


@pytest.mark.parametrize("command, prepare, is_done", COMMANDS, ids=lambda part: getattr(part, "__name__", ""))
def test_a_command_of_a_client_outlives_a_server_that_is_killed_once_it_is_committed(chaos, command, prepare, is_done):
    """Before the commit it has had no effect, after it the whole; told or not."""
    for name in ("commit.before", "commit.after", "reply.before", "reply.after"):
        job_id, bystander = f"job-{name}", f"bystander-{name}"
        chaos.submit(job(job_id=job_id, user=f"user-{name}"))
        chaos.submit(job(job_id=bystander))
        if prepare is not None:
            prepare(chaos, job_id)
        before = status_of(chaos, job_id), status_of(chaos, bystander)
        assert chaos.server.terminate() == 0
        chaos.start_server({"CYXWIZ_FAILPOINT": f"server.{name}:1"})
        try:
            command(chaos, job_id)
            assert name == "reply.after", "answered before the reply"
        except grpc.RpcError as lost:
            assert lost.code() == grpc.StatusCode.UNAVAILABLE, lost
        wait_killed(chaos.server)
        start_again(chaos)
        after = status_of(chaos, job_id)
        if name == "commit.before":
            assert after == before[0]
        else:
            assert is_done(after), f"it was committed and is lost:\n{after}"
        assert status_of(chaos, bystander) == before[1]
        if name == "commit.before":
            command(chaos, job_id)
            assert is_done(chaos.status(job_id))


def test_the_node_is_killed_at_each_of_its_failpoints(chaos, tmp_path):
    node = chaos.add_node(cpus=2)
    history = History(chaos)
    for name in NODE_FAILPOINTS:
        node.terminate()
        node.env = {"CYXWIZ_FAILPOINT": f"{name}:1"}
        node.start()
        assert history.submit(f"job-{name}", work()) == "ok"
        wait_killed(node.program)
        node.env = {}
        node.start()
    attempts = finish(history, tmp_path)
    assert any(attempt["attempt"] > 1 for attempt in attempts)


def test_a_runner_is_killed_at_each_of_its_failpoints(chaos, tmp_path):
    node = chaos.add_node(cpus=2)
    history = History(chaos)
    for name in RUNNER_FAILPOINTS:
        node.terminate()
        fired = tmp_path / name
        node.env = {"CYXWIZ_FAILPOINT": f"{name}:1:{fired}"}
        node.start()
        job_id = f"job-{name}"
        assert history.submit(job_id, work(2)) == "ok"
        chaos.succeed(job_id)
        assert fired.exists(), "the runner did not come to its failpoint"
        assert chaos.status(job_id).retries == 1
    finish(history, tmp_path)


# ---- Standing still ----

def freeze(pid, seconds):
    """SIGSTOP for so long; the length of a fault is all that a test here lets pass."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_node_that_stood_still_has_nothing_stale_accepted(chaos, tmp_path):
    frozen, other = chaos.add_node(cpus=1), chaos.add_node(cpus=1)
    history = History(chaos)
    for leases in (0.5, 1, 3):
        history.submit(f"one-{leases}", work(2 * LEASE, resources={"cpus": 1}))
        history.submit(f"two-{leases}", work(2 * LEASE, resources={"cpus": 1}))
        for name in ("one", "two"):
            chaos.wait(f"{name}-{leases}", lambda s: s.state >= job_pb2.JOB_STATE_RUNNING)
        freeze(frozen.pid, leases * LEASE)
    attempts = finish(history, tmp_path)
    assert any(a["node"] == other.id for a in attempts)


def test_a_server_that_stood_still_goes_on(chaos, tmp_path):
    chaos.add_node(cpus=1)
    history = History(chaos)
    for leases in (0.5, 1, 3):
        job_id = f"job-{leases}"
        history.submit(job_id, work(LEASE, resources={"cpus": 1}))
        chaos.wait(job_id, lambda s: s.state >= job_pb2.JOB_STATE_RUNNING)
        freeze(chaos.server.pid, leases * LEASE)
    finish(history, tmp_path)


# ---- The network ----

def test_a_node_behind_a_network_that_fails_in_every_way(chaos, tmp_path):
    proxy = Proxy(chaos.address)
    try:
        chaos.add_node(cpus=1, server=proxy.address)
        history = History(chaos)
        for mode in MODES[1:]:
            job_id = f"job-{mode}"
            history.submit(job_id, work(LEASE / 2, resources={"cpus": 1}))
            chaos.wait(job_id, lambda s: s.state >= job_pb2.JOB_STATE_RUNNING)
            proxy.mode = mode
            time.sleep(1.2 * LEASE)  # as long as the fault lasts
            proxy.mode = "pass"
            chaos.succeed(job_id)
        finish(history, tmp_path)
    finally:
        proxy.stop()


# ---- The disk ----

@pytest.fixture
def server_with():
    """Starts a server on a folder, or says why it did not start; whatever still runs at the end is killed."""
    started = []

    def start(folder, env):
        started.append(Program("server", [str(BIN / "cyxwiz-central-server"), "--data", str(folder / "data"), "--grpc-listen",
                                          "127.0.0.1:0", "--rest-listen", ""], folder / "server.log", env))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize("which", [1, 2, 3, 5, 8, 12])
def test_a_sync_that_fails_stops_the_server_and_loses_nothing_acknowledged(server_with, tmp_path, which):
    """The which-th fsync of a file by the process: of the first ones some are made while it starts."""
    acknowledged, log = [], tmp_path / "server.log"
    shim = tmp_path / "fail_sync.so"  # a path to the build may have spaces, which separate libraries in LD_PRELOAD
    shim.symlink_to(BUILD / "test" / "fail_sync.so")
    try:
        server = server_with(tmp_path, {"LD_PRELOAD": str(shim), "FAIL_SYNC": str(which)})
    except StartFailed as failed:
        assert failed.code > 0 and "data" in failed.log, failed
    else:
        with channel(server.ready["grpc"]) as wire:
            jobs = job_pb2_grpc.JobServiceStub(wire)
            with contextlib.suppress(grpc.RpcError):
                for i in range(100):
                    config = job(job_id=f"job-{i}")
                    acknowledged.append(jobs.SubmitJob(job_pb2.SubmitJobRequest(config=config), timeout=20).job_id)
        assert server.process.wait(10) == 70, server.log()
        assert "storing failed" in log.read_text() and "jobs.db" in log.read_text(), log.read_text()
        assert len(acknowledged) < 100
    server = server_with(tmp_path, {})
    with channel(server.ready["grpc"]) as wire:
        listed = job_pb2_grpc.JobServiceStub(wire).ListJobs(job_pb2.ListJobsRequest(page_size=1000), timeout=10).jobs
    assert {s.job_id for s in listed} >= set(acknowledged)
    assert len(listed) <= len(acknowledged) + 1
    assert server.terminate() == 0
    tool("check", tmp_path / "data")


def test_a_store_on_a_disk_of_8_mib_that_runs_full_and_a_server_that_is_killed_on_it(server_with, tmp_path):
    disk = tmp_path / "data"
    with mounted(disk, "size=8m"):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        server, acknowledged = server_with(tmp_path, {}), []
        with channel(server.ready["grpc"]) as wire:
            jobs = job_pb2_grpc.JobServiceStub(wire)
            with pytest.raises(grpc.RpcError) as refused:
                for i in range(20_000):
                    config = job(job_id=f"job-{i}", hyperparameters={"seed": str(i)}, name="x" * 200)
                    acknowledged.append(jobs.SubmitJob(job_pb2.SubmitJobRequest(config=config), timeout=20).job_id)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value
        assert acknowledged
        server.kill()
        # Started on the full disk it serves what is there, or says that it is full.
        try:
            server = server_with(tmp_path, {})
            server.kill()
        except StartFailed as failed:
            assert failed.code > 0 and "space" in failed.log, failed
        ballast.unlink()
        server = server_with(tmp_path, {})
        with channel(server.ready["grpc"]) as wire:
            jobs, listed, token = job_pb2_grpc.JobServiceStub(wire), set(), ""
            while True:
                page = jobs.ListJobs(job_pb2.ListJobsRequest(page_size=1000, page_token=token), timeout=10)
                listed |= {s.job_id for s in page.jobs}
                token = page.next_page_token
                if not token:
                    break
            assert listed >= set(acknowledged)
            assert jobs.SubmitJob(job_pb2.SubmitJobRequest(config=job(job_id="after")), timeout=20).job_id == "after"
        assert server.terminate() == 0
        tool("check", disk)


# ---- Everything, for a while ----

@pytest.mark.long
def test_faults_in_random_order(chaos, tmp_path):
    seconds = float(os.environ["CYXWIZ_CHAOS_SECONDS"])
    seed = int(os.environ.get("CYXWIZ_CHAOS_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")
    dice = random.Random(seed)
    proxy = Proxy(chaos.address)
    nodes = [chaos.add_node(cpus=2, server=proxy.address), chaos.add_node(cpus=2)]
    history, stop = History(chaos), threading.Event()

    def client(number):
        own, i = random.Random(seed + number), 0
        while not stop.is_set():
            job_id = f"client-{number}-{i}"
            i += 1
            history.submit(job_id, work(own.choice([0.1, 0.5, 1.5]), resources={"cpus": 1}))
            command = own.random()
            if command < 0.2:
                history.cancel(job_id)
            elif command < 0.4:
                history.pause(job_id)
            elif command < 0.6 and history.submits[job_id] == "ok":
                history.set_priority(job_id, own.randrange(4))
            stop.wait(own.random())

    def end_server():
        chaos.server.kill()
        start_again(chaos)

    def failpoint_of_server():
        chaos.server.kill()
        try:
            chaos.start_server({"CYXWIZ_FAILPOINT": f"{dice.choice(SERVER_FAILPOINTS)}:{dice.randrange(1, 20)}"})
            chaos.server.process.wait(3)
        except (StartFailed, subprocess.TimeoutExpired):
            pass
        if chaos.server.alive:
            chaos.server.kill()
        start_again(chaos)

    def end_node():
        node = dice.choice(nodes)
        node.kill()
        node.start()

    def failpoint_of_node():
        node = dice.choice(nodes)
        node.kill()
        name = dice.choice(NODE_FAILPOINTS + RUNNER_FAILPOINTS)
        node.env = {"CYXWIZ_FAILPOINT": f"{name}:1:{tmp_path / f'fired-{time.monotonic_ns()}'}"}
        with contextlib.suppress(StartFailed, subprocess.TimeoutExpired):
            node.start()
            node.program.process.wait(2)
        node.env = {}
        if not node.program.alive:
            node.start()

    def end_runner():
        runners = dice.choice(nodes).runners()
        if runners:
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(runners), signal.SIGKILL)

    def freeze_one():
        freeze(dice.choice([chaos.server, *(n.program for n in nodes)]).pid, dice.choice([0.5, 1, 3]) * LEASE)

    def network():
        proxy.mode = dice.choice(MODES[1:])
        time.sleep(dice.choice([0.5, 1, 3]) * LEASE)
        proxy.mode = "pass"

    clients = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    for one in clients:
        one.start()
    end = time.monotonic() + seconds
    faults = [end_server, failpoint_of_server, end_node, failpoint_of_node, end_runner, freeze_one, network]
    try:
        while time.monotonic() < end:
            fault = dice.choice(faults)
            print(f"{end - time.monotonic():.0f} s left: {fault.__name__}")
            fault()
    finally:
        stop.set()
        for one in clients:
            one.join()
    try:
        history.settle(timeout=300)
        history.check(tmp_path)
        for node in nodes:
            node.terminate()
    finally:
        proxy.stop()
    assert chaos.server.terminate() == 0
    tool("check", chaos.data, "--deep")
