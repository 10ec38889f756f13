"""A cluster of the real binaries for one test: started on free ports, stopped and checked for leftovers at the end.

Nothing here sleeps to let time pass: readiness is told over --ready-fd, the end of a process by its pidfd, the state of a
job by its stream; each wait has a deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import grpc
import pytest

import cyxwiz
from cyxwiz.protocol import (
    agent_pb2_grpc,
    control_pb2_grpc,
    deployment_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    log_pb2_grpc,
    node_pb2_grpc,
)

BUILD = Path(os.environ.get("CYXWIZ_BUILD", "build")).resolve()
BIN = BUILD / "bin"
START_TIMEOUT = 30.0  # seconds; a loaded machine needs a while to load libtorch
STOP_TIMEOUT = 15.0

FINAL = {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


class StartFailed(Exception):
    """A program ended before it was ready."""

    def __init__(self, name: str, code: int, log: str) -> None:
        super().__init__(f"{name} ended with code {code} before it was ready:\n{log}")
        self.code, self.log = code, log


def descendants(pid: int) -> List[int]:
    """Every process below `pid`, from /proc."""
    parents: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # After the name, which may hold spaces and brackets: state, parent.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def wait_gone(pids, timeout: float) -> List[int]:
    """Waits until the processes have ended; returns those that have not within `timeout` seconds."""
    deadline, left = time.monotonic() + timeout, []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            left.append(pid)
        os.close(fd)
    return left


class Program:
    """One running binary. `ready` holds what it said over --ready-fd."""

    def __init__(self, name: str, arguments: List[str], log: Path, env: Optional[Dict[str, str]] = None,
                 timeout: float = START_TIMEOUT) -> None:
        self.name, self.log_path = name, log
        reader, writer = os.pipe()
        with log.open("ab") as out:
            self.process = subprocess.Popen([*arguments, "--ready-fd", str(writer)], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, pass_fds=[writer], env={**os.environ, **(env or {})})
        os.close(writer)
        deadline, text = time.monotonic() + timeout, b""
        try:
            while b"\n" not in text:
                if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    self.kill()
                    raise StartFailed(name, -1, f"not ready within {timeout} s\n{self.log()}")
                piece = os.read(reader, 65536)
                if not piece:
                    raise StartFailed(name, self.process.wait(STOP_TIMEOUT), self.log())
                text += piece
        finally:
            os.close(reader)
        self.ready = json.loads(text)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel's out-of-memory killer would."""
        if self.alive:
            self.process.kill()
        self.process.wait(STOP_TIMEOUT)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        if self.alive:
            self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_TIMEOUT} s of SIGTERM:\n{self.log()}") from None


class NodeProgram:
    """A Server Node that can be killed and started again with its data on its old ports."""

    def __init__(self, cluster: "Cluster", name: str, *, cpus: int, memory: str, env: Dict[str, str], arguments: List[str],
                 server: str = "", runner: str = ""):
        self.cluster, self.name, self.env, self.server = cluster, name, env, server
        self._runner = runner or str(BIN / "cyxwiz-runner")
        self.data = cluster.folder / name
        self._arguments = ["--cpus", str(cpus), "--memory", memory, *arguments]
        self._listen, self._terminal = "127.0.0.1:0", "127.0.0.1:0"
        self.start()

    def start(self) -> None:
        roots = [a for root in self.cluster.data_roots for a in ("--data-roots", root)]
        self.program = Program(
            self.name,
            [str(BIN / "cyxwiz-server-node"), "--data", str(self.data), "--server", self.server or self.cluster.address,
             "--listen", self._listen, "--terminal-listen", self._terminal, "--runner", self._runner, *roots,
             *self._arguments],
            self.cluster.folder / f"{self.name}.log", self.env)
        self.id, self.endpoint = self.program.ready["node_id"], self.program.ready["endpoint"]
        self._listen = self.endpoint

    @property
    def pid(self) -> int:
        return self.program.pid

    def runners(self) -> List[int]:
        """Processes of attempts: children of the zygote."""
        zygotes = [p for p in descendants(self.pid) if _parent(p) == self.pid]
        return [p for p in descendants(self.pid) if p not in zygotes]

    def kill(self) -> None:
        """SIGKILL; checks that no runner outlives its node."""
        below = descendants(self.pid)
        self.program.kill()
        left = wait_gone(below, 5)
        assert not left, f"processes {left} outlived their node {self.name}"

    def terminate(self) -> int:
        below = descendants(self.pid)
        code = self.program.terminate()
        left = wait_gone(below, 5)
        assert not left, f"processes {left} outlived their node {self.name}"
        return code


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Cluster:
    """A Central Server and its nodes. Use as a context manager."""

    def __init__(self, folder: Path, *, lease_ms: int = 10_000, heartbeat_interval_ms: int = 500,
                 data_roots: Optional[List[str]] = None, data: Optional[Path] = None,
                 server_arguments: Optional[List[str]] = None) -> None:
        self.folder = folder
        self.data = data or folder / "server"
        self.nodes: List[NodeProgram] = []
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.data_roots = [str(self.files)] if data_roots is None else data_roots
        self._arguments = ["--lease-ms", str(lease_ms), "--heartbeat-interval-ms", str(heartbeat_interval_ms),
                           *(server_arguments or [])]
        self._grpc = self._rest = "127.0.0.1:0"
        self._channel: Optional[grpc.Channel] = None
        self.start_server()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- processes ----

    def start_server(self, env: Optional[Dict[str, str]] = None) -> None:
        roots = [a for root in self.data_roots for a in ("--data-roots", root)]
        self.server = Program(
            "server",
            [str(BIN / "cyxwiz-central-server"), "--data", str(self.data), "--grpc-listen", self._grpc, "--rest-listen",
             self._rest, *roots, *self._arguments],
            self.folder / "server.log", env)
        # A restart takes the same ports, so that nodes and clients find it again.
        self._grpc = self.address = self.server.ready["grpc"]
        self._rest = self.server.ready["rest"].replace("http://", "")

    def add_node(self, name: str = "", *, cpus: int = 2, memory: str = "4GiB", env: Optional[Dict[str, str]] = None,
                 arguments: Optional[List[str]] = None, server: str = "", runner: str = "") -> NodeProgram:
        node = NodeProgram(self, name or f"node{len(self.nodes) + 1}", cpus=cpus, memory=memory, env=env or {},
                           arguments=arguments or [], server=server, runner=runner)
        self.nodes.append(node)
        return node

    def stop(self) -> None:
        """Ends everything, nodes first, whatever state it is in; then says if something ended badly."""
        problems = []
        if self._channel:
            self._channel.close()
        for program in [*(n.program for n in reversed(self.nodes)), self.server]:
            if not program.alive:
                continue
            below = descendants(program.pid)
            try:
                code = program.terminate()
                if code != 0:
                    problems.append(f"{program.name} ended with code {code} on SIGTERM")
            except AssertionError as error:
                problems.append(str(error))
            left = wait_gone(below, 5)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if left:
                problems.append(f"{program.name} left the processes {left}")
        assert not problems, "; ".join(problems)

    def logs(self) -> Dict[str, str]:
        return {path.name: path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))}

    # ---- the wire ----

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = channel(self.address)
        return self._channel

    @property
    def jobs(self) -> job_pb2_grpc.JobServiceStub:
        return job_pb2_grpc.JobServiceStub(self.channel)

    @property
    def control(self) -> control_pb2_grpc.JobControlServiceStub:
        return control_pb2_grpc.JobControlServiceStub(self.channel)

    @property
    def node_service(self) -> node_pb2_grpc.NodeServiceStub:
        return node_pb2_grpc.NodeServiceStub(self.channel)

    @property
    def discovery(self) -> node_pb2_grpc.NodeDiscoveryServiceStub:
        return node_pb2_grpc.NodeDiscoveryServiceStub(self.channel)

    @property
    def job_status_service(self) -> node_pb2_grpc.JobStatusServiceStub:
        return node_pb2_grpc.JobStatusServiceStub(self.channel)

    @property
    def models(self) -> deployment_pb2_grpc.ModelServiceStub:
        return deployment_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def log_service(self) -> log_pb2_grpc.JobLogServiceStub:
        return log_pb2_grpc.JobLogServiceStub(self.channel)

    def client(self) -> cyxwiz.Client:
        return cyxwiz.Client(self.address)

    # ---- jobs ----

    def submit(self, config: Optional[job_pb2.JobConfig] = None, **fields) -> job_pb2.SubmitJobResponse:
        return self.jobs.SubmitJob(job_pb2.SubmitJobRequest(config=config or job(**fields)), timeout=30)

    def refusal(self, config: Optional[job_pb2.JobConfig] = None, **fields) -> "Refusal":
        """Submits a job that must be refused."""
        try:
            response = self.submit(config, **fields)
        except grpc.RpcError as error:
            return Refusal(error)
        raise AssertionError(f"the job was accepted: {response}")

    def status(self, job_id: str) -> job_pb2.JobStatus:
        return self.get(job_id).status

    def get(self, job_id: str) -> job_pb2.GetJobStatusResponse:
        return self.jobs.GetJobStatus(job_pb2.GetJobStatusRequest(job_id=job_id), timeout=30)

    def updates(self, job_id: str, timeout: float = 60) -> Iterator[job_pb2.JobStatus]:
        for update in self.jobs.StreamJobUpdates(job_pb2.GetJobStatusRequest(job_id=job_id), timeout=timeout):
            yield update.status

    def wait(self, job_id: str, until: Callable[[job_pb2.JobStatus], bool] = lambda s: s.state in FINAL,
             timeout: float = 60) -> job_pb2.JobStatus:
        """Follows the job until a status fulfils `until`; survives restarts of the server."""
        deadline, last = time.monotonic() + timeout, None
        while True:
            try:
                for last in self.updates(job_id, max(0.0, deadline - time.monotonic())):
                    if until(last):
                        return last
                raise AssertionError(f"job {job_id} ended otherwise: {last}")
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise AssertionError(f"job {job_id}: {error.code().name} {error.details()}; last: {last}") from None
                # Blocks until the server is there again.
                grpc.channel_ready_future(self.channel).result(max(0.1, deadline - time.monotonic()))

    def wait_running(self, job_id: str, timeout: float = 60) -> job_pb2.JobStatus:
        """Until it trains: progress has been reported."""
        return self.wait(job_id, lambda s: s.state == job_pb2.JOB_STATE_RUNNING and s.progress > 0, timeout)

    def succeed(self, job_id: str, timeout: float = 60) -> job_pb2.GetJobStatusResponse:
        """Waits until the job has succeeded; the response with its result."""
        status = self.wait(job_id, timeout=timeout)
        assert status.state == job_pb2.JOB_STATE_SUCCEEDED, f"job ended otherwise: {status}"
        return self.get(job_id)

    def list_jobs(self, **fields) -> List[job_pb2.JobStatus]:
        jobs, token = [], ""
        while True:
            response = self.jobs.ListJobs(job_pb2.ListJobsRequest(page_size=1000, page_token=token, **fields), timeout=30)
            jobs += response.jobs
            token = response.next_page_token
            if not token:
                return jobs

    # ---- REST and the command line ----

    def rest(self, method: str, path: str, body=None, headers: Optional[Dict[str, str]] = None):
        """(status, headers, body): the body parsed when it is JSON."""
        connection = http.client.HTTPConnection(self._rest, timeout=30)
        try:
            data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            content = response.read()
            kind = response.headers.get("Content-Type", "")
            return response.status, response.headers, json.loads(content) if "json" in kind else content.decode()
        finally:
            connection.close()

    def cli(self, *arguments: str, input: Optional[str] = None, timeout: float = 120,
            cwd: Optional[Path] = None) -> subprocess.CompletedProcess:
        return cli(*arguments, "--server", self.address, input=input, timeout=timeout, cwd=cwd)


class Refusal:
    """A refused SubmitJob: the gRPC status and the problems that came with it."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code, self.message = error.code(), error.details()
        self.problems = []
        for key, value in error.trailing_metadata() or ():
            if key == "cyxwiz-submit-response-bin":
                self.problems = list(job_pb2.SubmitJobResponse.FromString(value).problems)

    def problem(self, path: str) -> job_pb2.Problem:
        """The problem at a JSON path."""
        for problem in self.problems:
            if problem.path == path:
                return problem
        raise AssertionError(f"no problem at {path} among: {self}")

    def text(self) -> str:
        """Everything that it says."""
        return "\n".join([self.message or ""] + [
            f"{p.path} {p.message} {p.expected} {p.found} {p.hint}" for p in self.problems])

    def __repr__(self) -> str:
        return f"{self.code.name}: {self.text()}"


def channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, [
        ("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500), ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
        # Each cluster has connections of its own.
        ("grpc.use_local_subchannel_pool", 1)])


def agent(address: str) -> agent_pb2_grpc.NodeAgentServiceStub:
    return agent_pb2_grpc.NodeAgentServiceStub(channel(address))


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs at `folder`, of this user; the test is skipped where neither the user nor sudo may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    as_root = ["sudo", "-n"] if os.getuid() != 0 and shutil.which("sudo") else []
    done = subprocess.run([*as_root, "mount", "-t", "tmpfs", "-o", f"{options},uid={os.getuid()},gid={os.getgid()},mode=0755",
                           "none", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting a tmpfs is not possible here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([*as_root, "umount", "-l", str(folder)], check=True)


def cli(*arguments: str, input: Optional[str] = None, timeout: float = 120,
        env: Optional[Dict[str, str]] = None, cwd: Optional[Path] = None) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "CYXWIZ_SERVER"}
    return subprocess.run([str(BIN / "cyxwiz"), *arguments], input=input, capture_output=True, text=True, timeout=timeout,
                          env={**environment, **(env or {})}, cwd=cwd)


def job(*, layers=None, model=None, dataset: str = "mock://random_data", **fields) -> job_pb2.JobConfig:
    """A small valid job; keywords as in a job file change it."""
    hyperparameters = {"optimizer": "adam", "learning_rate": "0.01", "epochs": "2", "batch_size": "32",
                       **fields.pop("hyperparameters", {})}
    if model is None:
        model = {"layers": [{"type": "dense", "units": 10}] if layers is None else layers}
    return cyxwiz.job_config(model=model, dataset=dataset, hyperparameters={
        k: v for k, v in hyperparameters.items() if v is not None}, **fields)


def long_job(**fields) -> job_pb2.JobConfig:
    """Trains until it is stopped, as far as a test can see; small steps, so that it stops quickly."""
    return job(dataset="mock://random_data?samples=20000&features=64", layers=[
        {"type": "dense", "units": 64, "activation": "relu"}, {"type": "dense", "units": 10}],
        hyperparameters={"epochs": "100000"}, **fields)


def short_job(seconds: float = 2, **fields) -> job_pb2.JobConfig:
    """Trains for about so many seconds, long enough to be interrupted."""
    return job(dataset="mock://random_data?samples=20000&features=256", layers=[
        {"type": "dense", "units": 128, "activation": "relu"}, {"type": "dense", "units": 10}],
        hyperparameters={"epochs": str(max(1, round(seconds * 3))), "threads": "1"}, **fields)


__all__ = [name for name in dir() if not name.startswith("_")]
