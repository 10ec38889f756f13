#!/usr/bin/env bash
# Trains Fashion-MNIST on a cluster that lives as long as the demo: starts `cyxwiz up` on free ports, submits a job,
# shows its progress, prints the test accuracy, and leaves the trained model in BUILD/demo/model.
#
#   scripts/demo.sh [BUILD] [JOB_FILE]    BUILD: the build folder, default build
#                                         JOB_FILE: default examples/fashion-mnist-mlp.json
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build}")
job_file=${2:-examples/fashion-mnist-mlp.json}
cyxwiz=$build/bin/cyxwiz
demo=$build/demo

fail() { echo "demo: $*" >&2; exit 1; }
# The value of a key in JSON on one line.
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p"; }

[ -x "$cyxwiz" ] || fail "no build in '$build': run make first"
rm -rf "$demo"
mkdir -p "$demo"

up_pid=
stop() {
  code=$?
  trap - EXIT
  if [ -n "$up_pid" ]; then
    kill -TERM "$up_pid" 2>/dev/null || true
    wait "$up_pid" 2>/dev/null || true
  fi
  if [ "$code" != 0 ]; then
    echo "demo: failed (exit code $code); the daemons' logs are in $demo/data" >&2
  else
    rm -rf "$demo/data"
  fi
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

echo "Starting a Central Server and a node ..."
coproc UP { exec "$cyxwiz" up --data "$demo/data" --grpc-port 0 --rest-port 0 --json; }
up_pid=$UP_PID
# `up` prints one line, once everything serves.
read -r ready <&"${UP[0]}" || fail "the cluster did not start"
CYXWIZ_SERVER=$(value grpc <<<"$ready")
export CYXWIZ_SERVER
"$cyxwiz" nodes

echo
echo "Submitting $job_file"
code=0
status=$("$cyxwiz" submit "$job_file" --wait) || code=$?
job_id=$(sed -n 's/^Job *//p' <<<"$status")
if [ "$code" != 0 ]; then
  [ -z "$job_id" ] || { echo "$status"; "$cyxwiz" logs "$job_id" || true; } >&2
  exit "$code"
fi

echo
"$cyxwiz" download "$job_id" -o "$demo/model"
accuracy=$("$cyxwiz" status "$job_id" --json | value test_accuracy)
[ -n "$accuracy" ] || fail "the job reports no test accuracy"
echo
printf 'Test accuracy: %.4f\n' "$accuracy"
echo "Weights:       $demo/model/weights.safetensors"
