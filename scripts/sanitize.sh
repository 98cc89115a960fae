#!/usr/bin/env bash
# Builds the engine with sanitizers and runs its tests under them.
#
# usage: sanitize.sh [asan] [tsan] [-- CTEST_ARGS...]     both by default
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

presets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    asan | tsan) presets+=("$1") ;;
    *) fail "unknown preset '$1'; usage: sanitize.sh [asan] [tsan] [-- CTEST_ARGS...]" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
[ ${#presets[@]} -gt 0 ] || presets=(asan tsan)

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
for preset in "${presets[@]}"; do
  say "$preset: build"
  scripts/build.sh "$preset"
  say "$preset: tests"
  ctest --preset "$preset" --no-tests=error -j "$JOBS" "$@"
done
