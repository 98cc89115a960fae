#!/usr/bin/env bash
# Configures and builds one CMake preset (release, debug, bench, asan, tsan).
#
# usage: build.sh [PRESET [TARGET...]]     PRESET: release by default; TARGET: everything by default
# KVPARETO_JOBS sets the number of parallel jobs.
set -euo pipefail
source "$(dirname "$0")/common.sh"

preset=${1:-release}
[ $# -eq 0 ] || shift
cd "$ROOT"
mkdir -p build
# Tests in Python need numpy.
quietly "build/configure-$preset.log" cmake --preset "$preset" \
  -D Python3_EXECUTABLE="$(python_with numpy)"
# Ninja rewrites one line on a terminal; in a log, one line per tenth of the work is enough.
targets=()
[ $# -eq 0 ] || targets=(--target "$@")
if [ -t 1 ]; then
  cmake --build --preset "$preset" -j "$JOBS" "${targets[@]}"
else
  # A failing build prints everything that is not a progress line.
  cmake --build --preset "$preset" -j "$JOBS" "${targets[@]}" | awk '
    match($0, /^\[[0-9]+\/[0-9]+\]/) {
      split(substr($0, 2, RLENGTH - 2), n, "/")
      tenth = int(10 * n[1] / n[2])
      if (tenth != last || n[1] == n[2]) { print; fflush(); last = tenth }
      next
    }
    { print; fflush() }'
fi
