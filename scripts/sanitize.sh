#!/usr/bin/env bash
# Builds what sanitizers can tell most about, and runs its tests under them.
#
# usage: sanitize.sh [--all] [asan] [tsan] [-- GTEST_ARGS...]     both by default
#
# asan   ASan and UBSan: the layers that read files and text, codecs, policies
# tsan   TSan: what has threads, with both request matrices
# --all  under ASan also the scheduler and both request matrices: minutes more to build
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

presets=() all=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    asan | tsan) presets+=("$1") ;;
    --all) all=1 ;;
    *) fail "unknown preset '$1'; usage: sanitize.sh [--all] [asan] [tsan] [-- GTEST_ARGS...]" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
[ ${#presets[@]} -gt 0 ] || presets=(asan tsan)

suites_of() {
  case $1 in
    asan) echo base kv ops policy text ${all:+scheduler engine_matrix server_matrix} ;;
    tsan) echo thread_pool scheduler engine engine_matrix server_matrix ;;
  esac
}
# program PRESET SUITE
program() {
  case $2 in
    *_matrix) echo "build/$1/tests/reliability/$2_test" ;;
    *) echo "build/$1/tests/$2/$2_test" ;;
  esac
}
# What has nothing to do with more threads than the pool's takes minutes under TSan.
filter() {
  [ "$1 $2" != "tsan engine" ] || echo "--gtest_filter=-ScoreTest.*:SloTest.*:*Architectures*:*Models/*:*KeyBias*"
}

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
# gRPC is built without TSan, which is told of its order by tests/sanitizers/grpc_order.cc, not of its accesses.
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1"
for preset in "${presets[@]}"; do
  read -ra suites <<<"$(suites_of "$preset")"
  say "$preset: build"
  scripts/build.sh "$preset" planted_faults "${suites[@]/%/_test}"
  say "$preset: planted faults"
  ctest --preset "$preset" --no-tests=error -R '^sanitizers/'
  for suite in "${suites[@]}"; do
    say "$preset: $suite"
    # One process for all: starting one for each of thousands of tests takes minutes.
    # shellcheck disable=SC2046  # no filter: no argument
    "$(program "$preset" "$suite")" --gtest_brief=1 $(filter "$preset" "$suite") "$@"
  done
done
