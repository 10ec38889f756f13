#!/usr/bin/env python3
"""Measures training inside a job against a plain libtorch loop and against PyTorch, and prints JSON.

    bench/train/run.py [--build DIR] [--rounds N] [--loops mlp,cnn,resnet18,gpt,lstm]
                       [--forms loader,tensors,compile] [--job-epochs N]

The models are those of examples/*.json. Each round runs the loops one after the other, and a ratio is taken within its
round, so that what else the machine does touches both. Rates by wall time and by processor time; medians over the rounds.
With --job-epochs the whole job (checking, reading, training, testing, writing) is set against its steps of training
alone. PyTorch's forms (torch_loop.py) run where `--python` (CYXWIZ_BENCH_PYTHON, or python3) can import torch.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

import processor_time

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "examples"
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
TEXT = "/usr/share/common-licenses/GPL-3"
FORMS = ("loader", "tensors", "compile")
#: By loop: the example, its data (images: random ones, 3x32x32), threads, epochs of the job and of PyTorch's forms, the samples
#: to train on, how many of them the forms are given (all, if not said), what else the job is given. A job and a form take some
#: seconds each.
LOOPS = {
    "mlp": {"example": "fashion-mnist-mlp", "data": FASHION_MNIST, "threads": 1, "epochs": (5, 1), "samples": 60000},
    "cnn": {"example": "fashion-mnist-cnn", "data": FASHION_MNIST, "threads": 2, "epochs": (1, 1), "samples": 60000,
            "samples_of_forms": 16000},
    "resnet18": {"example": "fashion-mnist-resnet18", "data": "images", "threads": 2, "epochs": (1, 1), "samples": 256,
                 "hyperparameters": {"batch_size": 32}},
    "gpt": {"example": "gpl-3-gpt", "data": TEXT, "threads": 1, "epochs": (10, 10), "samples": 549},
    "lstm": {"example": "gpl-3-lstm", "data": TEXT, "threads": 1, "epochs": (10, 10), "samples": 549},
}


def last_json(command: list) -> dict:
    """Runs a command with OpenMP threads that do not spin; its last line of stdout as JSON."""
    env = dict(os.environ, OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="0")
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def npy(shape: tuple, values: bytes) -> bytes:
    """An array of bytes as NumPy writes it."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


def write_images(folder: pathlib.Path, count: int) -> pathlib.Path:
    """Random bytes as images of 3x32x32 of ten classes, two arrays of NumPy."""
    pixels = random.Random(0).randbytes(count * 3 * 32 * 32)
    (folder / "arrays.npy").write_bytes(npy((count, 3, 32, 32), pixels))
    (folder / "labels.npy").write_bytes(npy((count,), bytes(i % 10 for i in range(count))))
    return folder / "arrays.npy"


def job_command(build: pathlib.Path, loop: dict, data: pathlib.Path, epochs: int, result: pathlib.Path) -> list:
    """That of one job by cyxwiz-runner --train."""
    job = json.loads((EXAMPLES / f"{loop['example']}.json").read_text())
    suffix = {".npy": f"?labels={data.with_name('labels.npy')}", "": "" if data.is_dir() else
              f"?format=text&sequence_length=64"}[data.suffix]
    job["dataset"] = f"file://{data}{suffix}"
    job["hyperparameters"].update(loop.get("hyperparameters", {}), epochs=epochs, threads=loop["threads"],
                                  validation_split=0, checkpoint_seconds=0)
    result.mkdir(parents=True, exist_ok=True)
    path = result / "job.json"
    path.write_text(json.dumps(job))
    return [build / "bin/cyxwiz-runner", "--train", path, "--folder", result, "--data-root",
            data if data.is_dir() else data.parent, "--cpus", loop["threads"]]


def run_job(build: pathlib.Path, loop: dict, data: pathlib.Path, epochs: int, result: pathlib.Path) -> dict:
    """Runs it; rates added to what it prints."""
    done = last_json(job_command(build, loop, data, epochs, result))
    samples = loop["samples"] * epochs
    done["samples_per_second"] = samples / done["training_seconds"]
    done["samples_per_cpu_second"] = samples / done["training_cpu_seconds"]
    return done


def median(runs: list, key: str) -> float:
    return statistics.median(run[key] for run in runs)


def ratio(ours: list, theirs: list, key: str) -> float:
    return round(statistics.median(a[key] / b[key] for a, b in zip(ours, theirs)), 3)


def beside(jobs: list, others: list) -> dict:
    result = {"samples_per_second": round(median(others, "samples_per_second")),
              "ratio": ratio(jobs, others, "samples_per_second"),
              "ratio_by_cpu_time": ratio(jobs, others, "samples_per_cpu_second")}
    if "peak_memory_bytes" in others[0]:
        result["peak_memory_bytes"] = round(median(others, "peak_memory_bytes"))
    return result


def measure(name: str, args: argparse.Namespace, python: str, folder: pathlib.Path) -> dict:
    loop = LOOPS[name]
    data = write_images(folder, loop["samples"]) if loop["data"] == "images" else pathlib.Path(loop["data"])
    plain_loop = args.build / "bin/plain_loop"
    runs = {"job": [], "sgemm": []}
    for _ in range(args.rounds):
        runs["job"].append(run_job(args.build, loop, data, loop["epochs"][0], folder / name))
        runs["sgemm"].append(last_json([plain_loop, "sgemm", "--threads", loop["threads"]]))
        if name in ("mlp", "cnn"):
            runs.setdefault("plain", []).append(last_json([plain_loop, name, "--epochs", 3 if name == "mlp" else 1]))
        for form in args.forms.split(",") if python else ():
            if "absent" in runs.get(form, [{}])[-1]:
                continue
            runs.setdefault(form, []).append(last_json(
                [python, HERE / "torch_loop.py", form, folder / name, data, "--samples",
                 loop.get("samples_of_forms", loop["samples"]),
                 "--epochs", loop["epochs"][1], "--threads", loop["threads"]]))
    jobs = runs["job"]
    # A backward pass is two forward passes' work. By processor time, of each core.
    flops = 3 * jobs[0]["flops_per_sample"]
    result = {
        "threads": loop["threads"],
        "samples_per_second": round(median(jobs, "samples_per_second")),
        "peak_memory_bytes": round(median(jobs, "peak_memory_bytes")),
        "gigaflops": round(median(jobs, "samples_per_second") * flops / 1e9, 1),
        "sgemm_gigaflops": round(median(runs["sgemm"], "gigaflops"), 1),
        "share_of_sgemm": round(statistics.median(
            job["samples_per_cpu_second"] * flops / 1e9 / sgemm["gigaflops_per_cpu_second"]
            for job, sgemm in zip(jobs, runs["sgemm"])), 3),
    }
    if processor_time.available():
        result["processor_time"] = processor_time.measure(job_command(args.build, loop, data, loop["epochs"][0], folder / name))
    for form in ("plain", *FORMS):
        if form in runs:
            result[form] = {"absent": runs[form][-1]["absent"]} if "absent" in runs[form][-1] else beside(jobs, runs[form])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--forms", default=",".join(FORMS), help="of PyTorch's loops")
    parser.add_argument("--job-epochs", type=int, default=20, help="of the MLP whole job; 0: none")
    parser.add_argument("--python", default=os.environ.get("CYXWIZ_BENCH_PYTHON", "python3"))
    args = parser.parse_args()
    plain_loop = args.build / "bin/plain_loop"
    if not plain_loop.exists():
        sys.exit(f"{plain_loop} is absent: cmake --build {args.build} --target plain_loop")
    has_torch = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.loops.split(","):
            results[name] = measure(name, args, args.python if has_torch else "", pathlib.Path(folder))
            print(json.dumps({name: results[name]}), file=sys.stderr)
        if args.job_epochs > 0:
            job = run_job(args.build, LOOPS["mlp"], pathlib.Path(FASHION_MNIST), args.job_epochs, pathlib.Path(folder) / "whole")
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
