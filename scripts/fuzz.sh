#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for a while, beginning with the inputs in tests/fuzz/seeds.
#
#   scripts/fuzz.sh [BUILD] [SECONDS] [TARGET]     defaults: build-fuzz, 60, all; a TARGET is a format, such as csv
#
# What it learns stays in BUILD/corpus. An input that crashes is kept in BUILD/findings, and fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-fuzz} seconds=${2:-60} only=${3:-}

clang=$(compgen -c clang++ | grep -E '^clang\+\+(-[0-9]+)?$' | sort -V | tail -1 || true)
if [ -z "$clang" ]; then
  echo "fuzz: there is no clang: apt-get install clang-14 libclang-rt-14-dev" >&2
  exit 1
fi
cmake --preset fuzz -B "$build" -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_C_COMPILER="${clang/++/}" >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 1; }
rm -f "$build.log"
cmake --build "$build" --target fuzzers

mkdir -p "$build/findings"
failed=()
for seeds in tests/fuzz/seeds/*/; do
  target=$(basename "$seeds")
  [ -z "$only" ] || [ "$only" = "$target" ] || continue
  mkdir -p "$build/corpus/$target"
  echo "fuzz: $target, $seconds s"
  "$build/fuzz/${target}_fuzz" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=20 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="$build/findings/$target-" "$build/corpus/$target" "$seeds" \
    >"$build/fuzz/$target.log" 2>&1 || failed+=("$target")
  grep -E 'stat::(number_of_executed_units|peak_rss_mb)' "$build/fuzz/$target.log" || true
done
for target in "${failed[@]}"; do
  echo "fuzz: $target FAILED" >&2
  tail -40 "$build/fuzz/$target.log" >&2
done
[ ${#failed[@]} = 0 ]
