#!/usr/bin/env bash
# Measures the built binaries and writes bench/RESULTS.md. Takes about half an hour, without PyTorch a third of it; leave
# the machine alone meanwhile.
#
#   bench/run.sh [BUILD] [options of bench/run.py]
#
# With CYXWIZ_BENCH_PYTHON, a Python that can import torch, PyTorch is measured too: bench/run.py --help.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build}")
shift || true
cmake --build "$build" --target bench_control bench_placement bench_fairness plain_loop cyxwiz-central-server cyxwiz-server-node cyxwiz-runner cyxwiz
exec /usr/bin/python3 bench/run.py "$build" "$@"
