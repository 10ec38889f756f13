#!/usr/bin/env bash
# Installs what CyxWiz builds with: Debian packages and the pinned libtorch.
#
#   scripts/setup.sh            everything (packages, then libtorch)
#   scripts/setup.sh packages   Debian packages only
#   scripts/setup.sh libtorch   libtorch only
#
# Safe to run again: what is present is not fetched a second time. libtorch is kept outside the
# build folder, in ${CYXWIZ_CACHE:-~/.cache/cyxwiz}, so that a clean build does not fetch it again.
set -euo pipefail

# Build and run.
packages=(
  build-essential cmake ninja-build ccache pkg-config
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libboost1.81-dev libsqlitecpp-dev libsqlite3-dev libssl-dev libcurl4-openssl-dev zlib1g-dev libpng-dev libjpeg62-turbo-dev
  nlohmann-json3-dev libjemalloc-dev libgloo-dev libtomlplusplus-dev libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev
  python3 python3-venv python3-pip ca-certificates
)
# Tests, examples and the demo.
packages+=(libgtest-dev python3-yaml dataset-fashion-mnist)

# libtorch is the CPU part of the PyTorch wheel: the wheel itself, and of CUDA only the two small
# libraries that libtorch_cpu needs in order to load.
torch_version=2.15.0
cuda_runtime_version=13.2.75
cuda_cupti_version=13.2.86

cache=${CYXWIZ_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cyxwiz}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "setup: installing packages needs root: run as root, install sudo, or install these yourself: ${missing[*]}" >&2
    exit 1
  fi
}

install_packages() {
  missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "setup: installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

has_nvidia_gpu() { [ -e /proc/driver/nvidia/version ]; }

install_libtorch() {
  local flavour=cpu
  has_nvidia_gpu && flavour=cuda
  local target=$cache/libtorch-$torch_version-$flavour
  if [ ! -e "$target/.complete" ]; then
    echo "setup: fetching libtorch $torch_version ($flavour) into $target (about 0.5 GB, once)"
    fresh=$target.partial.$$
    trap 'rm -rf "$fresh"' EXIT
    mkdir -p "$fresh"
    # The folder is used for its libraries and headers only, never as a Python package, so the
    # wheel's Python version does not have to be the one of this machine.
    local platforms=(--platform "manylinux2014_$(uname -m)") glibc_minor
    for glibc_minor in $(seq 17 28); do
      platforms+=(--platform "manylinux_2_${glibc_minor}_$(uname -m)")
    done
    local pip=(/usr/bin/python3 -m pip install --quiet --no-compile --target "$fresh"
      --python-version 3.11 --implementation cp --only-binary=:all:
      "${platforms[@]}" --root-user-action=ignore --disable-pip-version-check)
    if [ "$flavour" = cuda ]; then
      "${pip[@]}" "torch==$torch_version"
    else
      "${pip[@]}" --no-deps "torch==$torch_version" \
        "nvidia-cuda-runtime==$cuda_runtime_version" "nvidia-cuda-cupti==$cuda_cupti_version"
      rm -f "$fresh"/torch/lib/libtorch_cuda*.so "$fresh"/torch/lib/libtorch_nvshmem.so \
        "$fresh"/torch/lib/libtorch_python.so
    fi
    touch "$fresh/.complete"
    rm -rf "$target"
    mv "$fresh" "$target"
  fi
  ln -sfn "$target" "$cache/libtorch"
}

case "${1:-all}" in
  all) install_packages; install_libtorch ;;
  packages) install_packages ;;
  libtorch) install_libtorch ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
