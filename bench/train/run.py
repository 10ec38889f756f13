#!/usr/bin/env python3
"""Measures training inside a job against a plain libtorch loop, and prints JSON.

    bench/train/run.py [--build DIR] [--rounds N] [--loops mlp,cnn] [--job-epochs N]

Each round runs the loops one after the other, and a ratio is taken within its round, so that what
else the machine does touches both. Rates by wall time and by processor time; medians over the
rounds. With --job-epochs the whole job (checking, reading, training, testing, writing) is set
against its steps of training alone. The DataLoader loop runs where `--python` (CYXWIZ_BENCH_PYTHON, or
python3) can import torch.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
THREADS = {"mlp": 1, "cnn": 2}


def last_json(command: list) -> dict:
    """Runs a command with OpenMP threads that do not spin; its last line of stdout as JSON."""
    env = dict(os.environ, OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_job(build: pathlib.Path, loop: str, epochs: int, data: str) -> dict:
    """One job by cyxwiz-runner --train; rates added to what it prints."""
    job = json.loads((HERE / f"{loop}.json").read_text())
    job["dataset"] = f"file://{data}"
    job["hyperparameters"]["epochs"] = epochs
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        result = last_json([build / "bin/cyxwiz-runner", "--train", path, "--folder",
                            pathlib.Path(folder) / "result", "--data-root", data,
                            "--cpus", str(THREADS[loop])])
    samples = 60000 * epochs
    result["samples_per_second"] = samples / result["training_seconds"]
    result["samples_per_cpu_second"] = samples / result["training_cpu_seconds"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", default="mlp,cnn")
    parser.add_argument("--job-epochs", type=int, default=20, help="of the MLP whole job; 0: none")
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "python3"))
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    args = parser.parse_args()
    plain_loop = args.build / "bin/plain_loop"
    if not plain_loop.exists():
        sys.exit(f"{plain_loop} is absent: cmake --build {args.build} --target plain_loop")
    has_torch = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0

    results = {}
    for loop in args.loops.split(","):
        epochs = 3 if loop == "mlp" else 1
        plain, job, loader = [], [], []
        for _ in range(args.rounds):
            plain.append(last_json([plain_loop, loop, "--epochs", str(epochs), "--data", args.data]))
            job.append(run_job(args.build, loop, epochs, args.data))
            if has_torch:
                loader.append(last_json([args.python, HERE / "dataloader_loop.py", loop,
                                         "--data", args.data]))

        def median(runs: list, key: str) -> float:
            return round(statistics.median(run[key] for run in runs))

        def ratio(base: list, key: str) -> float:
            return round(statistics.median(j[key] / b[key] for j, b in zip(job, base)), 3)

        results[loop] = {
            "rounds": args.rounds,
            "plain_loop_samples_per_second": median(plain, "samples_per_second"),
            "job_samples_per_second": median(job, "samples_per_second"),
            "ratio": ratio(plain, "samples_per_second"),
            "ratio_by_cpu_time": ratio(plain, "samples_per_cpu_second"),
        }
        if loader:
            results[loop]["dataloader_samples_per_second"] = median(loader, "samples_per_second")
            results[loop]["ratio_to_dataloader"] = ratio(loader, "samples_per_second")

    if args.job_epochs > 0:
        job = run_job(args.build, "mlp", args.job_epochs, args.data)
        parts = {"load": job["load_seconds"], "write": job["write_seconds"],
                 "model_and_test": job["compute_seconds"] - job["training_seconds"]}
        results["whole_job"] = {
            "loop": "mlp", "epochs": args.job_epochs,
            "training_seconds": round(job["training_seconds"], 3),
            **{f"{name}_seconds": round(value, 3) for name, value in parts.items()},
            "overhead": round(sum(parts.values()) / job["training_seconds"], 4),
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
