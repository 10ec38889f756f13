"""What the processor does during a training: shares of its time, by `perf`, which names the function of each sample.

    bench/train/processor_time.py COMMAND...     prints them as JSON

Kinds are told by the names of functions and libraries; what oneDNN generates while it runs has none of its own.
"""

import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

#: The first that fits "LIBRARY FUNCTION" counts.
KINDS = {
    "products and convolutions": r"^\[JIT\]|mkl_blas|gemm|dnnl::|ideep|Xbyak",
    "samples": r"cyxwiz::(data::|runner::(Feed|ScaleBytes|Gather|Mix))|libz\.so|libjpeg|libpng",
    "optimizer": r"fused_adam|adam_fused|adamw_fused|sgd_fused|cyxwiz::runner::\w*(Optimizer|Adagrad|Lion|Muon|Rmsprop)",
    "copies": r"direct_copy_kernel|fill_kernel|cat_serial|__mem(move|cpy|set)",
    "other arithmetic": r"at::native|at::vec|AVX2|AVX512|Sleef|mkl_vml|max_pool|batch_norm|bernoulli|random",
    "memory": r"libjemalloc|^libc\.so\S* \S*(malloc|free)|page|clear_|madvise",
    "kernel of the system": r"^\[kernel",
    "autograd and dispatch": r"^(libtorch|libc10|libstdc|libgomp|cyxwiz-runner|ld-linux|libc\.so|\[vdso)",
}
#: Milliseconds until a runner trains: it loads libtorch and the data before.
BEFORE = 700


def available() -> bool:
    return shutil.which("perf") is not None


def measure(command: list) -> dict:
    """Runs it. The share of each kind, which sum up to 1."""
    with tempfile.TemporaryDirectory() as folder:
        record = pathlib.Path(folder) / "perf.data"
        subprocess.run(["perf", "record", "-q", "-F", "499", "-D", str(BEFORE), "-o", record, *map(str, command)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        report = subprocess.run(["perf", "report", "-i", record, "--no-children", "--sort", "dso,symbol", "-g", "none",
                                 "--field-separator", ";"], check=True, capture_output=True, text=True).stdout
    shares = collections.Counter()
    for line in report.splitlines():
        fields = [field.strip() for field in line.split(";", 2)]
        if line.startswith("#") or len(fields) != 3:
            continue
        named = fields[1] + " " + re.sub(r"^\[[.k]\] ", "", fields[2])
        kind = next((kind for kind, names in KINDS.items() if re.search(names, named)), "other")
        shares[kind] += float(fields[0].rstrip("%"))
    whole = sum(shares.values())
    return {kind: round(share / whole, 3) for kind, share in shares.most_common()}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    print(json.dumps(measure(sys.argv[1:]), indent=2))
