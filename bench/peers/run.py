#!/usr/bin/env python3
"""Measures how many jobs a second other systems take from submission to completion on this machine, each as it is used by its users:

    hyperqueue   one HyperQueue job of N tasks, each the program `true`; server and one worker, from PyPI
    ray          N calls of an empty remote function on one node, from PyPI
    slurm        one job array of N tasks, each the program `true`; slurmctld, slurmd and munged of Debian's slurm-wlm, on one node

    bench/peers/run.py [--count N] [--only hyperqueue,ray,slurm]

One line of JSON each, {"name", "version", "count", "seconds", "per_second"}; {"name", "absent"} says why one could not be measured. Run it
with a Python that has hyperqueue and ray:

    python3 -m venv ~/peers && ~/peers/bin/pip install hyperqueue ray
    sudo apt-get install --no-install-recommends slurm-wlm munge

Everything listens on loopback or in a folder of its own, and ends with the script. Slurm needs root.
"""

import argparse
import contextlib
import getpass
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time


class Absent(Exception):
    pass


def hyperqueue(count):
    try:
        from importlib.metadata import version

        from hyperqueue import Job
        from hyperqueue.cluster import LocalCluster, WorkerConfig
    except ImportError as error:
        raise Absent(f"{error.name} is not installed") from None
    with tempfile.TemporaryDirectory() as folder, LocalCluster(folder) as cluster:
        cluster.start_worker(WorkerConfig(cores=os.cpu_count()))
        client = cluster.client()

        def run(tasks):
            job = Job(default_workdir=folder)
            for _ in range(tasks):
                job.program(["true"], stdout=None, stderr=None)
            begin = time.perf_counter()
            submitted = client.submit(job)
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                client.wait_for_jobs([submitted])
            return time.perf_counter() - begin

        run(10)
        return version("hyperqueue"), run(count)


def ray(count):
    try:
        import ray as ray_module
    except ImportError as error:
        raise Absent(f"{error.name} is not installed") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray_module.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        @ray_module.remote
        def nothing():
            return None

        ray_module.get([nothing.remote() for _ in range(100)])
        begin = time.perf_counter()
        ray_module.get([nothing.remote() for _ in range(count)])
        return ray_module.__version__, time.perf_counter() - begin
    finally:
        ray_module.shutdown()


@contextlib.contextmanager
def _daemons():
    running = []

    def start(log, *command, **options):
        with open(log, "ab") as out:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **options))
        return running[-1]

    try:
        yield start
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def slurm(count):
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing:
        raise Absent(f"{', '.join(missing)} is not installed")
    if os.geteuid() != 0:
        raise Absent("slurmd needs root")
    host = socket.gethostname().split(".")[0]
    # munged wants folders that only it can write to, all the way up.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-", dir="/run"))
    try:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (folder / "slurm.conf").write_text(f"""
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={getpass.getuser()}
SlurmctldPort={_free_port()}
SlurmdPort={_free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
MaxArraySize={count + 1}
MaxJobCount={count + 1000}
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        path = os.environ["PATH"] + ":/usr/sbin"
        munged, slurmctld, slurmd = (shutil.which(name, path=path) for name in ("munged", "slurmctld", "slurmd"))
        with _daemons() as start:
            start(folder / "munged.log", munged, "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
                  f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed", "--num-threads=2")
            controller = start(folder / "slurmctld.log", slurmctld, "-D")
            node = start(folder / "slurmd.log", slurmd, "-D", "-N", host)
            deadline = time.monotonic() + 60
            while True:
                state = subprocess.run(["sinfo", "-h", "-o", "%T"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
                if state == "idle":
                    break
                for process, log in ((controller, "slurmctld.log"), (node, "slurmd.log")):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise Absent(f"{log} ends: {(folder / log).read_text(errors='replace')[-500:]}")
                time.sleep(0.2)

            def run(tasks):
                begin = time.perf_counter()
                subprocess.run(["sbatch", "--wait", "--quiet", f"--array=1-{tasks}", "--output=/dev/null", "--chdir=/", "--wrap=true"],
                               check=True, stdout=subprocess.DEVNULL)
                return time.perf_counter() - begin

            run(2)
            seconds = run(count)
        version = subprocess.run(["sinfo", "--version"], stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        return version, seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--slurm-count", type=int, default=200, help="fewer: it takes some 100 ms a task")
    parser.add_argument("--only", default="hyperqueue,ray,slurm")
    args = parser.parse_args()
    # Results alone go to standard output; what the systems say goes to standard error.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in args.only.split(","):
        count = args.slurm_count if name == "slurm" else args.count
        try:
            version, seconds = {"hyperqueue": hyperqueue, "ray": ray, "slurm": slurm}[name](count)
            result = {"name": name, "version": version, "count": count, "seconds": round(seconds, 3), "per_second": round(count / seconds, 1)}
        except Absent as absent:
            result = {"name": name, "absent": str(absent)}
        print(json.dumps(result), file=results, flush=True)


if __name__ == "__main__":
    sys.exit(main())
