#!/usr/bin/env bash
# Builds what sanitizers can tell most about, and runs its tests under them.
#
# usage: sanitize.sh [asan] [tsan] [-- GTEST_ARGS...]     both by default
#
# asan  ASan and UBSan: the layers that read files and text, the codecs, policies
# tsan  TSan: the scheduler
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

presets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    asan | tsan) presets+=("$1") ;;
    *) fail "unknown preset '$1'; usage: sanitize.sh [asan] [tsan] [-- GTEST_ARGS...]" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
[ ${#presets[@]} -gt 0 ] || presets=(asan tsan)

suites_of() {
  case $1 in
    asan) echo base kv ops policy text ;;
    tsan) echo scheduler ;;
  esac
}

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
# gRPC is built without TSan, which then sees accesses of its but not its locks.
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1"
TSAN_OPTIONS+=":suppressions=$ROOT/tests/sanitizers/tsan.supp"
for preset in "${presets[@]}"; do
  read -ra suites <<<"$(suites_of "$preset")"
  say "$preset: build"
  scripts/build.sh "$preset" planted_faults "${suites[@]/%/_test}"
  say "$preset: planted faults"
  ctest --preset "$preset" --no-tests=error -R '^sanitizers/'
  for suite in "${suites[@]}"; do
    say "$preset: $suite"
    # One process for all: starting one for each of thousands of tests takes minutes.
    "build/$preset/tests/$suite/${suite}_test" --gtest_brief=1 "$@"
  done
done
