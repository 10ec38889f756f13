#!/usr/bin/env bash
# Measures the built binaries and writes bench/RESULTS.md. Takes about 5 minutes; leave the machine alone meanwhile.
#
#   bench/run.sh [BUILD] [options of bench/run.py]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build}")
shift || true
cmake --build "$build" --target bench_control plain_loop cyxwiz-central-server cyxwiz-server-node cyxwiz-runner
exec /usr/bin/python3 bench/run.py "$build" "$@"
