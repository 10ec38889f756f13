"""submit --mlflow and watch --mlflow, against the real MLflow server of $CYXWIZ_BUILD/mlflow-venv (scripts/test.sh installs it)."""

import http.client
import http.server
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from urllib.parse import quote

import pytest

from cluster import BUILD, cli, long_job
from test_cli import JOB  # noqa: F401 (of job_file)

MLFLOW = BUILD / "mlflow-venv/bin/mlflow"
START_TIMEOUT = 120.0  # seconds: it loads a hundred packages


class MlflowServer:
    """A server with its data in a folder, asked over REST for what it has."""

    def __init__(self, folder, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self.log = f"http://127.0.0.1:{self.port}", folder / "mlflow.log"
        environment = {**os.environ, "PATH": f"{MLFLOW.parent}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true",
                       "DO_NOT_TRACK": "true"}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
                 "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", *arguments],
                cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self._wait()

    def _wait(self):
        ended = select.poll()
        pidfd = os.pidfd_open(self.process.pid)
        ended.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    break
            except OSError:
                # Nothing tells when it listens: it is asked again, unless it has ended.
                if ended.poll(100) or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"the MLflow server did not start:\n{self.log.read_text()[-4000:]}")
        os.close(pidfd)

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(30)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

    def ask(self, method, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if body is None:
            connection.request("GET", f"/api/2.0/{method}")
        else:
            connection.request("POST", f"/api/2.0/{method}", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content

    def experiment(self, name):
        return json.loads(self.ask(f"mlflow/experiments/get-by-name?experiment_name={quote(name)}"))["experiment"]["experiment_id"]

    def runs(self, experiment="cyxwiz"):
        answer = self.ask("mlflow/runs/search", {"experiment_ids": [self.experiment(experiment)], "max_results": 100})
        return [Run(self, run) for run in json.loads(answer).get("runs", [])]

    def run_of(self, job_id, experiment="cyxwiz"):
        (run,) = [run for run in self.runs(experiment) if run.tags["cyxwiz.job_id"] == job_id]
        return run


class Run:
    def __init__(self, server, described):
        self.server, self.info, data = server, described["info"], described["data"]
        self.tags = {tag["key"]: tag["value"] for tag in data["tags"]}
        self.params = {param["key"]: param["value"] for param in data.get("params", [])}
        self.metrics = {metric["key"]: metric["value"] for metric in data.get("metrics", [])}

    def history(self, metric):
        answer = json.loads(self.server.ask(
            f"mlflow/metrics/get-history?run_id={self.info['run_id']}&metric_key={metric}"))
        return [(point["step"], point["value"]) for point in answer["metrics"]]

    def times(self, metric):
        answer = json.loads(self.server.ask(
            f"mlflow/metrics/get-history?run_id={self.info['run_id']}&metric_key={metric}"))
        return [point["timestamp"] for point in answer["metrics"]]

    def files(self):
        listed = json.loads(self.server.ask(f"mlflow/artifacts/list?run_id={self.info['run_id']}"))
        return {file["path"]: file["file_size"] for file in listed.get("files", [])}

    def file(self, name):
        path = self.info["artifact_uri"].removeprefix("mlflow-artifacts:")
        return self.server.ask(f"mlflow-artifacts/artifacts{path}/{name}")


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    if not MLFLOW.is_file():
        pytest.skip(f"{MLFLOW} is missing: scripts/test.sh installs MLflow where CYXWIZ_MLFLOW is set")
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


def final_status(done):
    return json.loads(done.stdout.splitlines()[-1])


def test_a_submitted_job_is_logged_when_it_has_ended(shared, mlflow, job_file, tmp_path):
    done = shared.cli("submit", job_file(user="ada"), "--wait", "--json", "--mlflow", mlflow.uri)
    assert done.returncode == 0, done.stderr
    job = final_status(done)
    run = mlflow.run_of(job["job_id"])
    assert run.info["status"] == "FINISHED" and run.info["run_name"] == "by cli"
    assert (run.info["start_time"], run.info["end_time"]) == (job["start_time"] * 1000, job["end_time"] * 1000)
    assert run.tags["cyxwiz.state"] == "Succeeded" and run.tags["mlflow.user"] == "ada"
    assert run.params == {"epochs": "2", "learning_rate": "0.01", "optimizer": "adam", "dataset": "mock://random_data"}

    # Each epoch at its step, the final values in full.
    history = run.history("train_loss")
    assert len(history) == 2 and 0 < history[0][0] < history[1][0]
    assert all(run.info["start_time"] <= time_ms <= run.info["end_time"] + 1000 for time_ms in run.times("train_loss"))
    final = job["result"]["final_metrics"]
    assert set(final) <= set(run.metrics)
    assert {name: run.metrics[name] for name in final} == final

    assert shared.cli("download", job["job_id"], "-o", str(tmp_path / "files")).returncode == 0
    files = {file.name: file.stat().st_size for file in (tmp_path / "files").iterdir()}
    assert run.files() == files and "weights.safetensors" in files
    for name in files:
        assert run.file(name) == (tmp_path / "files" / name).read_bytes()


def test_a_long_training_is_logged_whole(shared, mlflow, job_file):
    """More values than MLflow takes at once."""
    epochs = 350
    done = shared.cli("submit", job_file(hyperparameters={"epochs": epochs}), "--wait", "--json", "--mlflow", mlflow.uri)
    assert done.returncode == 0, done.stderr
    run = mlflow.run_of(final_status(done)["job_id"])
    for metric in ("train_loss", "train_accuracy", "learning_rate"):
        steps = [step for step, _ in run.history(metric)]
        assert len(steps) == epochs and steps == sorted(set(steps)), metric


def test_logging_again_changes_nothing(shared, mlflow, job_file):
    job_id = final_status(shared.cli("submit", job_file(), "--wait", "--json"))["job_id"]
    seen = []
    for _ in range(2):
        done = shared.cli("watch", job_id, "--mlflow", mlflow.uri + "/")
        assert done.returncode == 0, done.stderr
        run = mlflow.run_of(job_id)
        assert f"MLflow: {mlflow.uri}/#/experiments/{mlflow.experiment('cyxwiz')}/runs/{run.info['run_id']}\n" in done.stderr
        seen.append((run.info, run.tags, run.params, run.metrics, run.files(), {name: run.history(name) for name in run.metrics}))
    assert seen[0] == seen[1]


def test_an_array_is_a_run_with_those_of_its_members_in_it(shared, mlflow, job_file):
    array = final_status(shared.cli(
        "submit", job_file(sweep={"learning_rate": [0.1, 0.01]}), "--wait", "--json",
        "--mlflow", mlflow.uri, "--mlflow-experiment", "rates of learning"))["job_id"]
    parent = mlflow.run_of(array, "rates of learning")
    members = [run for run in mlflow.runs("rates of learning") if run.tags.get("mlflow.parentRunId") == parent.info["run_id"]]
    assert {run.tags["cyxwiz.job_id"]: run.params["learning_rate"] for run in members} == {f"{array}.0": "0.1", f"{array}.1": "0.01"}
    assert all("test_loss" in run.metrics and "model.json" in run.files() for run in members)


def test_a_cancelled_job_is_logged_as_such(shared, mlflow):
    job_id = shared.submit(long_job()).job_id
    shared.wait_running(job_id)
    assert shared.cli("cancel", job_id).returncode == 0
    done = shared.cli("watch", job_id, "--mlflow", mlflow.uri)
    assert done.returncode == 9, done.stderr
    run = mlflow.run_of(job_id)
    assert run.info["status"] == "KILLED" and run.tags["cyxwiz.state"] == "Cancelled" and run.files() == {}


def test_a_server_that_takes_no_files_is_told(shared, mlflow, job_file):
    mlflow.ask("mlflow/experiments/create", {"name": "elsewhere", "artifact_location": "s3://bucket/folder"})
    done = shared.cli("submit", job_file(), "--wait", "--json", "--mlflow", mlflow.uri, "--mlflow-experiment", "elsewhere")
    assert done.returncode == 4 and "takes no files" in done.stderr and "--serve-artifacts" in done.stderr
    assert final_status(done)["state"] == "JOB_STATE_SUCCEEDED"
    assert mlflow.run_of(final_status(done)["job_id"], "elsewhere").info["status"] == "RUNNING"


# What needs no MLflow server.

def test_nothing_is_submitted_where_it_could_not_be_logged(shared, job_file):
    before = {job.job_id for job in shared.list_jobs()}

    def refused(code, *arguments, **environment):
        done = cli("submit", job_file(), *arguments, "--server", shared.address, env=environment)
        assert done.returncode == code, done.stderr
        return done.stderr

    assert "--wait" in refused(2, "--mlflow", "http://127.0.0.1:5000")
    assert "--mlflow" in refused(2, "--wait", "--mlflow-experiment", "x")
    assert "http:// or https://" in refused(2, "--wait", "--mlflow", "mlruns")
    assert "user name" in refused(2, "--wait", "--mlflow", "http://ada:secret@127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert f"cannot connect to {uri}" in refused(6, "--wait", "--mlflow", uri)
    stderr = refused(4, "--wait", "--mlflow", "http://mlflow.example.org")
    assert "could be read and changed" in stderr and "--mlflow-insecure" in stderr
    stderr = refused(4, "--wait", "--mlflow", "http://mlflow.example.org", "--mlflow-insecure", MLFLOW_TRACKING_TOKEN="secret")
    assert "not sent over http://" in stderr and "secret" not in stderr
    stderr = refused(6, "--wait", "--mlflow", f"http://{shared._rest}")
    assert "does not answer as an MLflow server does" in stderr
    assert {job.job_id for job in shared.list_jobs()} == before


def test_a_certificate_is_checked(shared, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    class Nothing(http.server.BaseHTTPRequestHandler):
        asked = []

        def do_GET(self):
            self.asked.append(self.headers["Authorization"])
            self.send_error(404)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    with Server(("127.0.0.1", 0), Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        token = {"MLFLOW_TRACKING_TOKEN": "secret"}
        known = {**token, "SSL_CERT_FILE": str(tmp_path / "cert.pem")}
        for host, environment, expected in (("localhost", token, "no TLS with"), ("127.0.0.1", known, "no TLS with"),
                                            ("localhost", known, "does not answer as an MLflow server does: HTTP 404")):
            assert Nothing.asked == []
            done = cli("watch", "any", "--server", shared.address, "--mlflow", f"https://{host}:{server.server_port}",
                       env=environment)
            assert done.returncode == 6 and expected in done.stderr, done.stderr
        server.shutdown()
    assert Nothing.asked == ["Bearer secret"]
