#!/usr/bin/env bash
# Shows that the simulator finds bugs: applies each patch of tests/sim/mutations to a copy of the sources, builds the
# simulator alone, and runs it until it fails.
#
#   tests/sim/mutate.sh [NAME...]    NAME: of a patch, without .patch; default all
#
# MOST: seeds that a mutation may survive (default 20000). With all patches, the table in docs/explanation/simulator.md is
# written anew. Fails when a patch does not apply or is not caught, or when the simulator fails without one.
set -euo pipefail
cd "$(dirname "$0")/../.."
most=${MOST:-20000}
page=docs/explanation/simulator.md
names=("$@")
[ $# -gt 0 ] || for patch in tests/sim/mutations/*.patch; do names+=("$(basename "$patch" .patch)"); done

copy=$(mktemp -d "${TMPDIR:-/tmp}/cyxwiz-mutate-XXXXXX")
trap 'rm -rf "$copy"' EXIT
git ls-files -z | tar --null --files-from=- -cf - | tar -xf - -C "$copy"
export CCACHE_BASEDIR=$copy CCACHE_NOHASHDIR=1
cmake --preset release -S "$copy" -B "$copy/build" >"$copy/log" 2>&1 || { cat "$copy/log"; exit 1; }
build() { cmake --build "$copy/build" --target sim >"$copy/log" 2>&1 || { cat "$copy/log"; exit 1; }; }
run() { "$copy/build/test/sim" --seeds "$1" --jobs "$(nproc)" --most-failures 1 2>&1; }

build
run 2000 >"$copy/result" || { cat "$copy/result"; echo "mutate: the simulator fails without a mutation"; exit 1; }

rows=()
failed=0
for name in "${names[@]}"; do
  patch=tests/sim/mutations/$name.patch
  if ! patch -d "$copy" -p1 -s --no-backup-if-mismatch <"$patch" >"$copy/log" 2>&1; then
    cat "$copy/log"
    echo "$name: does not apply any more"
    exit 1
  fi
  build
  what=$(sed -n '1s/\.$//p' "$patch")
  if run "$most" >"$copy/result"; then
    echo "$name: NOT CAUGHT by $most seeds"
    failed=1
  else
    invariant=$(sed -n 's/^seed [0-9]* FAILED: //p' "$copy/result" | head -n 1)
    seeds=$(sed -n 's/^sim: \([0-9]*\) seeds from .*/\1/p' "$copy/result")
    time=$(sed -n 's/^sim: .* failed, \(.*\) s$/\1/p' "$copy/result")
    echo "$name: caught by \"$invariant\", $seeds seeds, $time s"
    rows+=("| \`$name\` | $what | $invariant | $seeds | $time |")
  fi
  patch -d "$copy" -p1 -s -R --no-backup-if-mismatch <"$patch"
done

if [ $# -eq 0 ] && [ $failed = 0 ]; then
  {
    sed '/^<!-- mutations -->$/q' "$page"
    echo "| mutation | what it breaks | caught by the invariant | seeds | seconds |"
    echo "| --- | --- | --- | --- | --- |"
    printf '%s\n' "${rows[@]}"
    sed -n '/^<!-- end of mutations -->$/,$p' "$page"
  } >"$copy/page"
  cp "$copy/page" "$page"
fi
exit $failed
