#!/usr/bin/env python3
"""Runs every measurement against the real binaries and writes RESULTS.md beside this file.

    bench/run.py BUILD [--rounds N] [--seconds S] [--only submit,jobs] [--output FILE]

What is compared is measured alternately within this one run, so that what else the machine does touches both sides.

PyTorch's loops need a Python that can import torch; without one their rows are left out, with a word. Give it in CYXWIZ_BENCH_PYTHON or with
--python; otherwise python3 is tried. To have one of the release that the runner is built with:

    python3 -m venv ~/torch && ~/torch/bin/pip install torch==2.15.0 torchvision numpy pandas
    CYXWIZ_BENCH_PYTHON=~/torch/bin/python make bench
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
IN_FLIGHT = 128


class Program:
    """A running binary that tells over --ready-fd, in one line of JSON, when it serves."""

    def __init__(self, arguments, log):
        reader, writer = os.pipe()
        with open(log, "ab") as out:
            self.process = subprocess.Popen([*map(str, arguments), "--ready-fd", str(writer)], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, pass_fds=[writer])
        os.close(writer)
        text = b""
        while b"\n" not in text:
            ready, _, _ = select.select([reader], [], [], 60)
            piece = os.read(reader, 65536) if ready else b""
            if not piece:
                self.stop()
                sys.exit(f"{arguments[0]} did not start:\n{pathlib.Path(log).read_text()}")
            text += piece
        os.close(reader)
        self.ready = json.loads(text)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


DATASETS = "/usr/share/datasets"


class Cluster:
    """A server, and as many nodes as are asked for, on fresh data."""

    def __init__(self, build, folder, nodes):
        self.build = build
        self.folder = pathlib.Path(folder)
        self.programs = []
        self.server = self._start(build / "bin/cyxwiz-central-server", "--data", self.folder / "server", "--grpc-listen",
                                  "127.0.0.1:0", "--rest-listen", "127.0.0.1:0", "--data-roots", DATASETS, name="server")
        self.address = self.server.ready["grpc"]
        self.rest = self.server.ready["rest"]
        self.nodes = [self._start(build / "bin/cyxwiz-server-node", "--data", self.folder / f"node-{i}", "--server", self.address,
                                  "--listen", "127.0.0.1:0", "--terminal-listen", "127.0.0.1:0", "--data-roots", DATASETS, name=f"node-{i}")
                      for i in range(nodes)]

    def _start(self, *arguments, name):
        program = Program(arguments, self.folder / f"{name}.log")
        self.programs.append(program)
        return program

    def cli(self, *arguments):
        """Its line of JSON; the command must succeed."""
        done = subprocess.run([str(self.build / "bin/cyxwiz"), "--server", self.address, *map(str, arguments), "--json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=True)
        return json.loads(done.stdout)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self):
        for program in reversed(self.programs):
            program.stop()


@contextlib.contextmanager
def cluster(build, nodes=0):
    # On the disk of the build folder: a temporary folder may be in memory, where fsync costs nothing.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as folder:
        running = Cluster(build, folder, nodes)
        try:
            yield running
        finally:
            running.stop()


def control(build, *arguments):
    done = subprocess.run([str(build / "bench/bench_control"), *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_control {' '.join(map(str, arguments))} failed")
    result = json.loads(done.stdout)
    if result.get("errors"):
        sys.exit(f"bench_control {arguments[0]}: {result['errors']} errors, the first: {result.get('first_error')}")
    return result


def fsync_ms(folder):
    """Median of fdatasync after appending a page, milliseconds: what one commit cannot be faster than."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def measure_submit(build, rounds, seconds):
    """Durable SubmitJob and empty echoes, alternating."""
    runs = {"echo": [], "submit": [], "same body": []}
    echo = subprocess.Popen([str(build / "bench/bench_control"), "echo-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    try:
        echo_address = echo.stdout.readline().strip()
        with cluster(build) as running:
            control(build, "echo", echo_address, IN_FLIGHT, 0.5)
            control(build, "submit", running.address, IN_FLIGHT, 0.5)
            for _ in range(rounds):
                runs["echo"].append(control(build, "echo", echo_address, IN_FLIGHT, seconds))
                runs["submit"].append(control(build, "submit", running.address, IN_FLIGHT, seconds))
                runs["same body"].append(control(build, "submit", running.address, IN_FLIGHT, seconds, "same"))
    finally:
        echo.stdin.close()
        echo.wait(10)
    result = {"bytes": runs["echo"][0]["message_bytes"], "fsync_ms": fsync_ms(build)}
    for name, values in runs.items():
        result[name] = {key: statistics.median(v[key] for v in values) for key in ("per_second", "p50_ms", "p99_ms")}
        result[name]["ratio"] = statistics.median(
            v["per_second"] / e["per_second"] for v, e in zip(values, runs["echo"]))
    return result


QUEUED = 100_000  # jobs that wait while a submit's time is measured, and at a restart
PROBE = 5_000  # submits whose times are compared; few beside QUEUED


def measure_queue(build, rounds):
    """Time of a durable SubmitJob with an empty queue and with QUEUED jobs in it, alternating."""
    empty, full = [], []
    with cluster(build) as filled:
        control(build, "fill", filled.address, IN_FLIGHT, QUEUED)
        for _ in range(rounds):
            with cluster(build) as fresh:
                control(build, "fill", fresh.address, IN_FLIGHT, 500)  # warm
                empty.append(control(build, "fill", fresh.address, IN_FLIGHT, PROBE))
            full.append(control(build, "fill", filled.address, IN_FLIGHT, PROBE))
    return {"empty_ms": statistics.median(r["p99_ms"] for r in empty), "full_ms": statistics.median(r["p99_ms"] for r in full),
            "ratio": statistics.median(f["p99_ms"] / e["p99_ms"] for f, e in zip(full, empty))}


def measure_restart(build, count, same):
    """Seconds from the start of a server that was killed with `count` jobs waiting until it serves."""
    with cluster(build) as running:
        control(build, "fill", running.address, IN_FLIGHT, count, *(["same"] if same else []))
        running.server.process.kill()
        running.server.process.wait()
        began = time.perf_counter()
        again = Program([build / "bin/cyxwiz-central-server", "--data", running.folder / "server", "--grpc-listen", "127.0.0.1:0",
                         "--rest-listen", "127.0.0.1:0"], running.folder / "again.log")
        took = time.perf_counter() - began
        resident = int(re.search(r"VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{again.process.pid}/status").read_text())[1])
        again.stop()
    return {"jobs": count, "same_body": same, "seconds": took, "resident_mib": resident >> 10}


LONG_JOB = {"name": "long", "model": {"layers": [{"type": "dense", "units": 10}]},
            "hyperparameters": {"epochs": 100_000, "batch_size": 32, "threads": 1}, "dataset": "mock://random_data?samples=2000&features=16"}


def measure_node_death(build, rounds):
    """Seconds from kill -9 of a node until its job runs on another one: the lease, and what comes on top."""
    took = []
    for _ in range(rounds):
        with cluster(build, nodes=2) as running:
            job_file = running.folder / "long.json"
            job_file.write_text(json.dumps(LONG_JOB))
            job = running.cli("submit", job_file)["job_id"]
            with subprocess.Popen([str(build / "bin/cyxwiz"), "--server", running.address, "events", job, "--follow", "--json"],
                                  stdout=subprocess.PIPE, text=True) as events:
                def wait_for_running(attempt):
                    for line in events.stdout:
                        event = json.loads(line)
                        if event.get("to") == "JOB_STATE_RUNNING" and event.get("attempt") == attempt:
                            return
                    sys.exit("bench: the events ended before the job ran")

                wait_for_running(1)
                node = running.cli("status", job)["current_node_id"]
                victim = next(one for one in running.nodes if one.ready["node_id"] == node)
                began = time.perf_counter()
                victim.process.kill()
                wait_for_running(2)
                took.append(time.perf_counter() - began)
                events.terminate()
    return {"seconds": statistics.median(took), "all": took}


def measure_fairness(build):
    done = subprocess.run([str(build / "bench/bench_fairness")], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


STARTED = re.compile(r"attempt (\S+)/\d+ started: fork_ms=([\d.]+) load_ms=([\d.]+) first_step_ms=([\d.]+) total_ms=([\d.]+)")


def core_times(rest):
    """Seconds in all and number, of each part of the core's work since the server was started."""
    with urllib.request.urlopen(f"{rest}/metrics") as answer:
        text = answer.read().decode()
    return {part: tuple(float(re.search(rf"^cyxwiz_core_{part}_seconds_{what} (\S+)$", text, re.M)[1]) for what in ("sum", "count"))
            for part in ("queue", "apply", "commit")}


def measure_first_step(build, count):
    """Submit to first training step, with its parts from both ends of the wire."""
    with cluster(build, nodes=1) as running:
        control(build, "first-step", running.address, 5)  # warm
        before = core_times(running.rest)
        result = control(build, "first-step", running.address, count)
        after = core_times(running.rest)
        node = {m[1]: [float(m[i]) for i in range(2, 6)] for m in STARTED.finditer(running.log("node-0"))}
    columns = {name: [] for name in ("submit", "dispatch", "fork", "load", "first_step", "other", "total", "seen")}
    for job, accepted, seen in zip(result["job_ids"], result["accepted_ms"], result["running_ms"]):
        if job not in node:
            continue
        fork, load, step, on_node = node[job]
        columns["submit"].append(accepted)
        # AssignJob leaves with the same commit as the reply, so the two overlap: what remains is both ways of the wire.
        columns["dispatch"].append(max(0.0, seen - accepted - on_node))
        columns["fork"].append(fork)
        columns["load"].append(load)
        columns["first_step"].append(step - load)  # the runner counts both from its start
        columns["other"].append(on_node - fork - step)
        columns["seen"].append(seen)
    if not columns["seen"]:
        sys.exit("the node's log tells of no started attempt")
    result = {name: statistics.median(values) for name, values in columns.items() if values}
    for part, (seconds, number) in after.items():
        result[part] = 1000 * (seconds - before[part][0]) / (number - before[part][1])
    result["p99"] = sorted(columns["seen"])[int(len(columns["seen"]) * 0.99)]
    result["count"] = len(columns["seen"])
    return result


def measure_jobs(build, count, rounds):
    rates = []
    for _ in range(rounds):
        with cluster(build) as running:
            rates.append(control(build, "jobs", running.address, IN_FLIGHT, count, 64)["per_second"])
    return {"count": count, "per_second": statistics.median(rates), "rates": rates}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    return [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()
            and (p / "stat").exists() and int((p / "stat").read_text().rpartition(")")[2].split()[1]) == pid]


def measure_idle(build, seconds):
    """Share of one core that a server and a node use while there is nothing to do."""
    with cluster(build, nodes=1) as running:
        time.sleep(2)  # what starting leaves behind
        groups = {"server": [running.server.process.pid],
                  "node": [running.nodes[0].process.pid, *children(running.nodes[0].process.pid)]}
        before = {name: sum(map(cpu_seconds, pids)) for name, pids in groups.items()}
        time.sleep(seconds)
        return {name: (sum(map(cpu_seconds, pids)) - before[name]) / seconds for name, pids in groups.items()}


ACCURACY_EPOCHS = 10


def run_python(python, module, *arguments):
    """The last line of JSON of a program of another Python; None where that cannot import `module`."""
    if subprocess.run([python, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode != 0:
        return None
    environment = dict(os.environ, OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0")
    done = subprocess.run([python, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_accuracy(build, python, rounds):
    """Seconds until a model of Fashion-MNIST is trained and tested: a job from its submit, a Python program from its start. Then predictions
    of that model, by a job and by ONNX Runtime, one thread each. All alternating."""
    job = json.loads((HERE.parent / "examples/fashion-mnist-cnn.json").read_text())
    job["hyperparameters"].update(epochs=ACCURACY_EPOCHS, validation_split=0, threads=2)
    data = f"{DATASETS}/fashion-mnist"
    runs = {"job": [], "python": [], "predictions": [], "onnx": []}
    with cluster(build, nodes=1) as running:
        file, model = running.folder / "job.json", running.folder / "model"
        file.write_text(json.dumps(job))
        for _ in range(rounds):
            began = time.perf_counter()
            status = running.cli("submit", "--wait", file)
            runs["job"].append({"seconds": time.perf_counter() - began, "accuracy": status["metrics"]["test_accuracy"]})
            running.cli("download", "-o", model, status["job_id"])
            running.cli("export", "-o", model, status["job_id"])
            began = time.perf_counter()
            other = run_python(python, "torch", HERE / "train/torch_loop.py", "loader", model, data, "--epochs", ACCURACY_EPOCHS, "--threads", 2, "--test")
            if other:
                runs["python"].append({**other, "seconds": time.perf_counter() - began})
            for _ in range(3):
                predicted = running.cli("predict", status["job_id"], "--data", f"file://{data}", "--output", "npy", "--wait")
                runs["predictions"].append(predicted["result"]["final_metrics"])
                other = run_python(python, "onnxruntime", HERE / "predict/onnx_loop.py", model / "model.onnx", data, running.folder / "out.npy")
                if other:
                    runs["onnx"].append(other)
    result = {name: {key: statistics.median(run[key] for run in values) for key in ("seconds", "accuracy", "samples_per_second") if key in values[0]}
              for name, values in runs.items() if values}
    for ours, theirs, key in (("job", "python", "seconds"), ("predictions", "onnx", "samples_per_second")):
        if theirs in result:
            result[theirs]["ratio"] = statistics.median(b[key] / a[key] for a, b in zip(runs[ours], runs[theirs]))
    return result


def measure_scaling(build, python):
    done = subprocess.run([sys.executable, str(HERE / "train/scaling.py"), "--build", str(build), "--python", python], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_data(build, python):
    done = subprocess.run([sys.executable, str(HERE / "data/run.py"), "--build", str(build), "--python", python], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_fetching(build):
    done = subprocess.run([sys.executable, str(HERE / "data/fetch.py"), "--build", str(build)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_memory(build):
    done = subprocess.run([sys.executable, str(HERE / "train/memory.py"), "--build", str(build)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def machine(build):
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) >> 20
    system = re.search(r'PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())

    def output(*command):
        try:
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
        except OSError:
            return ""

    version = output(str(build / "bin/cyxwiz-central-server"), "--version")
    return [
        ("Processor", f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores"),
        ("Memory", f"{memory} GiB"),
        ("System", f"{system[1] if system else ''}, Linux {platform.release()}"),
        ("Date", datetime.date.today().isoformat()),
        ("CyxWiz", f"{version}, commit {output('git', '-C', str(HERE), 'rev-parse', '--short', 'HEAD')}"),
        ("Compiler", output("g++", "--version").splitlines()[0] if output("g++", "--version") else ""),
        ("gRPC", output("dpkg-query", "-W", "-f", "${Version}", "libgrpc++1.51")),
    ]


def verdict(ok):
    return "yes" if ok else "**no**"


def measure_placement(build):
    done = subprocess.run([str(build / "bench/bench_placement")], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure_peers(python):
    """Other systems, where `python` can import them: bench/peers/run.py."""
    done = subprocess.run([python, str(HERE / "peers/run.py")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


PYTORCH = {"loader": "`DataLoader` loop", "tensors": "indexed tensors, fused optimizer", "compile": "the same through `torch.compile`"}
TRAINED = {"mlp": "MLP 784-128-10, batch 32", "cnn": "CNN 32-64, batch 64", "resnet18": "ResNet-18, 3x32x32, batch 32",
           "gpt": "GPT of 2 layers, batch 16 of 64 bytes", "lstm": "LSTM 128, batch 16 of 64 bytes"}
#: What a job shall be at least, in times of each of PyTorch's forms.
TRAINING_GOALS = {"mlp": {"plain": 1.6, "loader": 4.0, "tensors": 1.8, "compile": 1.5}, "cnn": {"plain": 1.0, "loader": 1.1, "tensors": 1.1, "compile": 1.0},
                  **{loop: {"loader": 1.05, "tensors": 1.0} for loop in ("resnet18", "gpt", "lstm")}}


def training_section(training):
    loops = {loop: training[loop] for loop in TRAINED if loop in training}

    def label(loop):
        threads = loops[loop]["threads"]
        return f"{TRAINED[loop]}, {threads} thread{'s' if threads > 1 else ''}"

    def row(loop, form):
        job, other, goal = loops[loop], loops[loop][form], TRAINING_GOALS[loop].get(form)
        name = "plain libtorch loop" if form == "plain" else PYTORCH[form]
        if "absent" in other:
            return f"| {label(loop)} | {job['samples_per_second']:,} | {name} | {other['absent']} | | | | | |"
        memory = f"{job['peak_memory_bytes'] >> 20:,} / {other['peak_memory_bytes'] >> 20:,}" if "peak_memory_bytes" in other else ""
        return (f"| {label(loop)} | {job['samples_per_second']:,} | {name} | {other['samples_per_second']:,} | {other['ratio']:.2f} | "
                f"{other['ratio_by_cpu_time']:.2f} | {goal or ''} | {verdict(other['ratio'] >= goal) if goal else ''} | {memory} |")

    out = ["## Training", "",
           "Models of `examples/`, float32: the runner's steps of training inside a job against a plain libtorch C++ loop (`bench/train/plain_loop.cc`), and against PyTorch of the "
           "same release in three forms (`bench/train/torch_loop.py`), same threads. Fashion-MNIST, random images of 3x32x32, and the text of the GPL. Memory: the most "
           "that each process had, in MiB; PyTorch's wheel, as plain `pip install torch` brings it on Linux, has the libraries of CUDA too.", "",
           "| | job, samples/s | beside | samples/s | ratio | by processor time | goal | met | memory, job / other |",
           "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- | ---: |",
           *(row(loop, form) for loop in loops for form in ("plain", *PYTORCH) if form in loops[loop]), ""]
    if not any(form in loop for loop in loops.values() for form in PYTORCH):
        out += ["PyTorch was absent: no Python that can import torch was given (`bench/run.py --help`).", ""]
    out += ["Work, as the specification counts it (three forward passes a sample), and what the machine does in products of 1024 x 1024 matrices in the same run; the share by processor time.", "",
            "| | GFLOP/s | products, GFLOP/s | share |", "| --- | ---: | ---: | ---: |",
            *(f"| {label(loop)} | {r['gigaflops']:.1f} | {r['sgemm_gigaflops']:.1f} | {r['share_of_sgemm']:.0%} |" for loop, r in loops.items()), ""]
    profiled = {loop: r["processor_time"] for loop, r in loops.items() if "processor_time" in r}
    if profiled:
        kinds = sorted({kind for shares in profiled.values() for kind in shares}, key=lambda kind: -sum(s.get(kind, 0) for s in profiled.values()))
        out += ["Where the processor's time goes in such a job, by `perf` (`bench/train/processor_time.py`): products and convolutions are those of MKL and oneDNN, with the copies "
                "that they make of their operands; what else they do on the way, such as activations that oneDNN fuses, is in it.", "",
                "| | " + " | ".join(kinds) + " |", "| --- |" + " ---: |" * len(kinds),
                *(f"| {label(loop)} | " + " | ".join(f"{shares.get(kind, 0):.0%}" for kind in kinds) + " |" for loop, shares in profiled.items()), ""]
    whole = training.get("whole_job")
    if whole:
        out += [f"A whole job of {whole['epochs']} epochs of the MLP: {whole['training_seconds']} s of training steps, and beside them "
                f"{whole['load_seconds']} s to load, {whole['model_and_test_seconds']} s to build the model and test it, "
                f"{whole['write_seconds']} s to write: {whole['overhead']:.1%} (goal: below 3 %, met: {verdict(whole['overhead'] < 0.03)}).", ""]
    return out


def accuracy_section(measured):
    job, python = measured["job"], measured.get("python")
    predictions, onnx = measured["predictions"], measured.get("onnx")
    absent = "not measured, for no Python that has it was given."
    return ["## Until a model is trained and tested", "",
            f"Fashion-MNIST, the CNN of `examples/`, {ACCURACY_EPOCHS} epochs, 2 threads: a job {job['seconds']:.1f} s from submit, accuracy {job['accuracy']:.3f} in the test. The same "
            "model by PyTorch's `DataLoader` loop, from the start of Python: "
            + (f"{python['seconds']:.1f} s, accuracy {python['accuracy']:.3f}: {python['ratio']:.2f} times as long." if python else absent), "",
            f"Predictions of that model for the 10,000 test images, one thread, in batches, to a NumPy file: a job {predictions['samples_per_second']:,.0f} a second, ONNX Runtime "
            + (f"{onnx['samples_per_second']:,.0f}: the job is {1 / onnx['ratio']:.2f} times as fast." if onnx else absent), ""]


def scaling_section(measured):
    pause, save = measured.get("checkpoint_pause_ms"), measured.get("torch_save_ms")
    return ["## One model in two processes", "",
            f"MLP 784-2048-2048-10 ({measured['parameters_mib']} MiB of weights), Adam, batch 512 (`bench/train/scaling.py`), on {os.cpu_count()} cores.", "",
            "| | samples/s | to one process |", "| --- | ---: | ---: |", f"| one process, 1 thread | {measured['one_samples_per_second']:,} | |",
            f"| one process, 2 threads | {measured['threads_samples_per_second']:,} | {measured['threads_ratio']:.2f} |",
            f"| a gang of 2 on loopback, 1 thread each | {measured['gang_samples_per_second']:,} | {measured['gang_ratio']:.2f} |", "",
            "A step, in milliseconds, in so many processes with a thread each; and the most memory that a rank but the first had:", "",
            "| model | 1 | 2 | 4 |", "| --- | ---: | ---: | ---: |",
            *(f"| {title} | " + " | ".join(f"{ms:.3g}" for ms in measured["step_ms"][model]["steps"].values()) + " |"
              for model, title in (("large", "MLP 784-4096-4096-4096-10, Adam, batch 256"), ("tiny", "MLP 64-64-10, Adam, batch 32"))),
            *(f"| MiB of a rank of the first{title} | | " + " | ".join(str(sizes[i]) for sizes in measured["rank_mib"].values()) + " |"
              for i, title in enumerate(("", ", with `shard_optimizer`"))), "",
            *([f"Training waits {pause:.0f} ms for a checkpoint of that model (a copy in memory; it is written meanwhile)"
               + (f"; `torch.save` of the same states takes {save:.0f} ms." if save else "; no Python with torch was given to compare."), ""] if pause is not None else [])]


def data_section(kinds):
    names = {"table.csv": "CSV, 20 numbers a row", "images": "folder of PNG images, 28x28", "arrays.npy": "NPY, 784 bytes a sample"}
    others = {"pandas": "pandas", "torchvision": "torchvision (`ImageFolder`, `decode_png`)", "numpy": "NumPy"}
    return ["## Reading data", "",
            "From the page cache to numbers in memory, the checks of the job included, beside what reads them in Python with one thread; a job reads images and arrays with up to four (`bench/data/run.py`).", "",
            "| | job, samples/s | beside | samples/s | ratio |", "| --- | ---: | --- | ---: | ---: |",
            *(f"| {names[k['kind']]} | {k['samples_per_second']:,} | {others[k['module']]} | "
              + (f"{k['other_samples_per_second']:,} | {k['ratio']:.2f} |" if "ratio" in k else "absent | |") for k in kinds), ""]


def fetching_section(measured):
    return ["## Fetching data", "",
            f"A file of {measured['mib']} MiB by HTTPS from a server on this machine, to the same disk (`bench/data/fetch.py`). A node computes the SHA-256 of what comes.", "",
            "| | MiB/s | node to it |", "| --- | ---: | ---: |", f"| node | {measured['node_mib_per_second']} | |",
            f"| curl | {measured['curl_mib_per_second']} | {measured['ratio']:.2f} |",
            f"| curl and sha256sum | {measured['curl_and_sha256sum_mib_per_second']} | {measured['ratio_with_sha256sum']:.2f} |", ""]


def memory_section(examples):
    return ["## Memory of a training, estimated and measured", "",
            "What the specification of each example estimates, from which follows what a job that names no memory asks for, and the most that its runner had resident, libtorch included, with "
            "evaluations and checkpoints on the way (`bench/train/memory.py`; goal: within 25 %).", "",
            "| example | estimated MiB | measured MiB | ratio | met |", "| --- | ---: | ---: | ---: | --- |",
            *(f"| {e['name']} | {e['estimated_bytes'] >> 20:,} | {e['peak_bytes'] >> 20:,} | {e['ratio']:.2f} | {verdict(0.75 <= e['ratio'] <= 1.25)} |" for e in examples), ""]


def write(path, facts, submit, queue, restart, first, jobs, peers, placement, death, fairness, idle, training, accuracy, scaling, data, fetching, memory):
    out = ["# Measured", "",
           "Written by `make bench`. One noisy machine: trust the ratios, whose sides ran alternately within this run; measure again "
           "before you rely on a rate.", "", "| machine | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in facts if v), ""]
    if submit:
        out += ["## Durable submits", "",
                f"Calls with {IN_FLIGHT} in flight and messages of {submit['bytes']} bytes; client and server share the machine. An echo is "
                "an empty call (gRPC's C++ callback API on both sides); a submit is answered once the job is checked, scheduled and "
                f"fsynced (one fdatasync here: {submit['fsync_ms']:.2f} ms).", "",
                "| | calls/s | p50 ms | p99 ms | share of the echo | goal | met |", "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
        for name, label, goal in (("echo", "empty echo", ""), ("submit", "SubmitJob, every job with another seed", "0.50"),
                                  ("same body", "SubmitJob, one job again and again", "")):
            row = submit[name]
            out.append(f"| {label} | {row['per_second']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['ratio']:.2f} | "
                       f"{goal} | {verdict(row['ratio'] >= 0.50) if goal else ''} |")
        out.append("")
    if queue:
        out += ["## Beside a long queue", "",
                f"The slowest hundredth of {PROBE:,} durable submits, {IN_FLIGHT} in flight: {queue['empty_ms']:.1f} ms with an empty queue, "
                f"{queue['full_ms']:.1f} ms while {QUEUED:,} jobs wait: {queue['ratio']:.2f} times (goal: at most 1.5, met: {verdict(queue['ratio'] <= 1.5)}).", ""]
    if restart:
        out += ["## A server that was killed", "",
                "From the start of the program until it serves, with jobs waiting in its store (goal: 1,000,000 in at most 10 s).", "",
                "| jobs | their specifications | seconds | resident MiB |", "| ---: | --- | ---: | ---: |",
                *(f"| {r['jobs']:,} | {'one' if r['same_body'] else 'all different'} | {r['seconds']:.2f} | {r['resident_mib']:,} |" for r in restart), ""]
    if first:
        out += ["## From submit to the first training step", "",
                f"{first['count']} jobs one after another on a warm node: MLP 784-128-10 on a small data set that the runner "
                "makes itself (`mock://random_data`, 320 samples of 784 features and 100 to test), so that what is measured is the system and not "
                "the reading of files. Medians in milliseconds, from sending SubmitJob until the client's stream says that the first step is done.", "",
                "| part | ms |", "| --- | ---: |",
                f"| SubmitJob, from call to answer | {first['submit']:.1f} |",
                f"| - of it, on the average of all commands meanwhile, in the core's queue | {first['queue']:.2f} |",
                f"| - of it, on the average of a batch, applied and scheduled | {first['apply']:.2f} |",
                f"| - of it, likewise, committed: one transaction, one sync | {first['commit']:.2f} |",
                f"| dispatch to the node, report to the server, update to the client | {first['dispatch']:.1f} |",
                f"| fork of the runner from the zygote | {first['fork']:.1f} |",
                f"| load: check of the job, data set | {first['load']:.1f} |",
                f"| model and first step | {first['first_step']:.1f} |",
                f"| rest on the node: socket, start message, report | {first['other']:.1f} |",
                f"| **whole, p50** (goal: at most 25, met: {verdict(first['seen'] <= 25)}) | **{first['seen']:.1f}** |",
                f"| whole, p99 | {first['p99']:.1f} |", ""]
    if jobs:
        out += ["## Jobs whose executor returns at once", "",
                f"{jobs['count']:,} jobs with {IN_FLIGHT} submits in flight; a node of the benchmark's own accepts each attempt and reports its end "
                "at once. From the first submit until the last completion is acknowledged as durable.", "",
                f"**{jobs['per_second']:,.0f} jobs/s** (median of {', '.join(f'{r:,.0f}' for r in jobs['rates'])})", ""]
    if peers:
        out += ["Beside it, in the same run, other systems as their users use them (`bench/peers/run.py`): HyperQueue and Slurm run the program "
                "`true` as tasks of one job, Ray calls an empty remote function. They start something for each task, where our executor returns at once; and of "
                "them only Slurm makes a job durable.", "",
                "| | jobs/s | ours to it |", "| --- | ---: | ---: |"]
        for peer in peers:
            name = {"hyperqueue": "HyperQueue", "ray": "Ray", "slurm": "Slurm"}[peer["name"]]
            if "absent" in peer:
                out.append(f"| {name} | absent: {peer['absent']} | |")
            else:
                ratio = f"{jobs['per_second'] / peer['per_second']:.1f}" if jobs else ""
                out.append(f"| {name} {peer['version']} | {peer['per_second']:,.0f} | {ratio} |")
        out.append("")
    if placement:
        out += ["## A decision of the control core", "",
                "An attempt ends, its room goes to the next job that fits, and all records and messages of that are made (`bench/placement`). Nodes of four slots, all "
                "of them taken; queued jobs with 200 different requests and four priorities. Microseconds (goal: p99 at most 1,000 with 10,000 nodes and 100,000 jobs), and bytes of "
                "memory a job beyond its shared specification (goal: at most 1,024), and how many more while all that wait are cancelled by one request, and for how many milliseconds a heartbeat "
                "waits for the core meanwhile at most, but for commits.", "",
                "| nodes | queued jobs | p50 | p99 | submit, a job | bytes a job | more, cancelled | heartbeat, ms |",
                "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
                *(f"| {p['nodes']:,} | {p['queued']:,} | {p['p50_us']:.0f} | {p['p99_us']:.0f} | {p['submit_us']:.0f} | {p['bytes_per_job']:,} "
                  f"| {p['bytes_per_job_cancelled']:,} | {p['beat_waits_us'] / 1000:.0f} |"
                  for p in placement), ""]
    if death:
        out += ["## A node that dies", "",
                f"From kill -9 of a node until its job runs on another one: {death['seconds']:.1f} s (median of {', '.join(f'{s:.1f}' for s in death['all'])}), "
                "of which the lease is 10 s less the age of the last heartbeat.", ""]
    if fairness:
        days = sorted({f["day"] for f in fairness})
        users = list(dict.fromkeys(f["user"] for f in fairness))
        cell = {(f["user"], f["day"]): f"{f['share']:.0%} of {f['fair']:.0%}" if f["fair"] or f["share"] else "" for f in fairness}
        out += ["## Fair share over a simulated week", "",
                "20 nodes of 16 cores, four users of the same class with jobs of 1, 4, 8 and 2 cores (`bench/fairness`): the part of each day's core hours that "
                "a user had, and what its weight entitled it to.", "",
                "| user | " + " | ".join(f"day {d}" for d in days) + " |", "| --- |" + " --- |" * len(days),
                *(f"| {u} | " + " | ".join(cell[u, d] for d in days) + " |" for u in users), ""]
    if idle:
        out += ["## Idle", "", "Processor time while nothing happens but heartbeats, as a share of one core (goal: below 1 %).", "",
                "| | share | met |", "| --- | ---: | --- |",
                *(f"| {name} | {share:.2%} | {verdict(share < 0.01)} |" for name, share in idle.items()), ""]
    if training:
        out += training_section(training)
    if accuracy:
        out += accuracy_section(accuracy)
    if scaling:
        out += scaling_section(scaling)
    if data:
        out += data_section(data)
    if fetching:
        out += fetching_section(fetching)
    if memory:
        out += memory_section(memory)
    path.write_text("\n".join(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each load")
    parser.add_argument("--only", default="submit,queue,restart,first-step,jobs,peers,placement,death,fairness,idle,training,accuracy,scaling,data,fetching,memory", help="which to measure")
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "python3"),
                        help="the Python whose PyTorch, if any, is measured too")
    parser.add_argument("--peers-python", default=os.environ.get("CYXWIZ_BENCH_PEERS", "python3"),
                        help="the Python that has the peers: bench/peers/run.py --help")
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "RESULTS.md")
    args = parser.parse_args()
    build, only = args.build.resolve(), args.only.split(",")

    def step(name, measure, *arguments):
        if name not in only:
            return None
        print(f"bench: {name}", file=sys.stderr, flush=True)
        result = measure(*arguments)
        print(json.dumps({name: result}), flush=True)
        return result

    def train():
        done = subprocess.run([sys.executable, str(HERE / "train/run.py"), "--build", str(build), "--python", args.python,
                               "--rounds", str(min(args.rounds, 3))],
                              stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit("bench/train/run.py failed")
        return json.loads(done.stdout)

    submit = step("submit", measure_submit, build, args.rounds, args.seconds)
    queue = step("queue", measure_queue, build, args.rounds)
    restart = step("restart", lambda: [measure_restart(build, count, same) for count, same in ((QUEUED, False), (900_000, True))])
    first = step("first-step", measure_first_step, build, 100)
    jobs = step("jobs", measure_jobs, build, 2000, 3)
    peers = step("peers", measure_peers, args.peers_python)
    placement = step("placement", measure_placement, build)
    death = step("death", measure_node_death, build, 3)
    fairness = step("fairness", measure_fairness, build)
    idle = step("idle", measure_idle, build, 10)
    training = step("training", train)
    accuracy = step("accuracy", measure_accuracy, build, args.python, 1)
    scaling = step("scaling", measure_scaling, build, args.python)
    data = step("data", measure_data, build, args.python)
    fetching = step("fetching", measure_fetching, build)
    memory = step("memory", measure_memory, build)
    write(args.output, machine(build), submit, queue, restart, first, jobs, peers, placement, death, fairness, idle, training, accuracy, scaling, data, fetching, memory)
    print(f"bench: wrote {args.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
