#!/usr/bin/env python3
"""Measures one large dense model in one process, with two threads, and as a gang of two processes, and prints JSON.

    bench/train/scaling.py [--build DIR] [--rounds N] [--python PYTHON] [--against RUNNER]

MLP 784-2048-2048-10, 5.8 million parameters, Adam, batch 512. The ranks of the gang meet on loopback and have a thread each.
The job of one process writes checkpoints meanwhile: how long training waits for one is told beside how long torch.save of the
same states takes, where `--python` (CYXWIZ_BENCH_PYTHON, or python3) can import torch. Rounds alternate; medians.

What a step costs is measured for a larger model, MLP 784-4096-4096-4096-10 (36.8 million parameters, Adam, batch 256), and for a
tiny one (4,810 parameters, batch 32), in 1, 2 and 4 processes with a thread each; and the memory of a rank of 2 and 4 with and
without `shard_optimizer`. `--against` measures another cyxwiz-runner in the same rounds.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile

from run import HERE, last_json

SAMPLES = 8192
JOB = {"name": "wide", "model": {"layers": [{"type": "dense", "units": 2048, "activation": "relu"}, {"type": "dense", "units": 2048, "activation": "relu"},
                                            {"type": "dense", "units": 10}]},
       "dataset": f"mock://random_data?samples={SAMPLES}&test_samples=0&features=784",
       "hyperparameters": {"batch_size": 512, "optimizer": "adam"}}


#: Name: job and its steps.
STEPS = {
    "large": ({"name": "large", "model": {"layers": [{"type": "dense", "units": 4096, "activation": "relu"}] * 3 + [{"type": "dense", "units": 10}]},
               "dataset": "mock://random_data?samples=2048&test_samples=0&features=784",
               "hyperparameters": {"batch_size": 256, "optimizer": "adam", "checkpoint_seconds": 0}}, 8),
    "tiny": ({"name": "tiny", "model": {"layers": [{"type": "dense", "units": 64, "activation": "relu"}, {"type": "dense", "units": 10}]},
              "dataset": "mock://random_data?samples=32000&test_samples=0&features=64",
              "hyperparameters": {"batch_size": 32, "optimizer": "adam", "checkpoint_seconds": 0}}, 1000),
}
RANKS = (2, 4)


def command(build: pathlib.Path, folder: pathlib.Path, threads: int, checkpoint_seconds: float) -> list:
    job = dict(JOB, hyperparameters={**JOB["hyperparameters"], "threads": threads, "checkpoint_seconds": checkpoint_seconds})
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job))
    return [build / "bin/cyxwiz-runner", "--train", folder / "job.json", "--folder", folder, "--cpus", str(threads)]


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def steps_of(runner: pathlib.Path, folder: pathlib.Path, job: dict, ranks: int) -> list:
    """What each of so many ranks told."""
    meet = free_address()
    env = dict(os.environ, OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0")
    running = []
    for rank in range(ranks):
        own = folder / str(rank)
        own.mkdir(parents=True, exist_ok=True)
        (own / "job.json").write_text(json.dumps(job))
        among = ["--rank", str(rank), "--ranks", str(ranks), "--meet", meet] if ranks > 1 else []
        running.append(subprocess.Popen([runner, "--train", own / "job.json", "--folder", own, "--cpus", "1", *among],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env))
    return [json.loads(rank.communicate()[0].splitlines()[-1]) for rank in running]


def measure_steps(runners: dict, rounds: int, folder: pathlib.Path) -> dict:
    """Milliseconds a step, by model, runner and ranks."""
    took = {}
    for _ in range(rounds):
        for model, (job, steps) in STEPS.items():
            for ranks in (1, *RANKS):
                for name, runner in runners.items():
                    told = steps_of(runner, folder, job, ranks)[0]
                    took.setdefault((model, name, ranks), []).append(1000 * told["training_seconds"] / steps)
    result = {}
    for (model, name, ranks), values in took.items():
        result.setdefault(model, {}).setdefault(name, {})[ranks] = round(statistics.median(values), 3)
    return result


def measure_memory(runner: pathlib.Path, folder: pathlib.Path) -> dict:
    """MiB that a rank other than 0 had at most, by ranks, with the whole state and with its part."""
    result = {}
    for ranks in RANKS:
        for shard in (False, True):
            job = dict(STEPS["large"][0])
            job["hyperparameters"] = {**job["hyperparameters"], "shard_optimizer": shard}
            told = steps_of(runner, folder, job, ranks)[1:]
            result.setdefault(ranks, []).append(round(max(one["peak_memory_bytes"] for one in told) / 2**20))
    return result


def gang(build: pathlib.Path, folder: pathlib.Path) -> dict:
    meet = free_address()
    env = dict(os.environ, OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0")
    ranks = [subprocess.Popen([*command(build, folder / str(rank), 1, 0), "--rank", str(rank), "--ranks", "2", "--meet", meet],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) for rank in (0, 1)]
    told = [json.loads(rank.communicate()[0].splitlines()[-1]) for rank in ranks]
    return told[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "python3"))
    parser.add_argument("--against", type=pathlib.Path, help="another cyxwiz-runner, measured beside in steps")
    args = parser.parse_args()
    runner = args.build / "bin/cyxwiz-runner"
    runners = {"steps": runner, **({"against": args.against} if args.against else {})}
    has_torch = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    runs = {"one": [], "threads": [], "gang": []}
    pauses, saves = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "gang").mkdir()
        for _ in range(args.rounds):
            runs["one"].append(last_json(command(args.build, folder / "one", 1, 0)))
            runs["gang"].append(gang(args.build, folder / "gang"))
            runs["threads"].append(last_json(command(args.build, folder / "threads", 2, 0)))
            saving = last_json(command(args.build, folder / "saving", 1, 0.5))
            if saving["checkpoints"] > 0:
                pauses.append(saving["checkpoint_pause_seconds"] / saving["checkpoints"])
            if has_torch:
                saves.append(last_json([args.python, HERE / "save_loop.py", folder / "saving", folder / "state.pt"])["seconds"])
    rates = {name: [SAMPLES / run["training_seconds"] for run in all_runs] for name, all_runs in runs.items()}
    result = {f"{name}_samples_per_second": round(statistics.median(values)) for name, values in rates.items()}
    for name in ("threads", "gang"):
        result[f"{name}_ratio"] = round(statistics.median(b / a for a, b in zip(rates["one"], rates[name])), 2)
    result["parameters_mib"] = round((784 * 2048 + 2048 * 2048 + 2048 * 10 + 4106) * 4 / 2**20)
    if pauses:
        result["checkpoint_pause_ms"] = round(1000 * statistics.median(pauses), 1)
    if saves:
        result["torch_save_ms"] = round(1000 * statistics.median(saves), 1)
    with tempfile.TemporaryDirectory() as name:
        result["step_ms"] = measure_steps(runners, args.rounds, pathlib.Path(name))
        result["rank_mib"] = measure_memory(runner, pathlib.Path(name))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
