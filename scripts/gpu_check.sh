#!/usr/bin/env bash
# Builds the CUDA backend, tests it on this machine's GPU, and prints the table of its benchmark.
#
# usage: gpu_check.sh [--prebuilt DIR] [-- ROW...]
#
# --prebuilt DIR  takes cuda_test and cuda_bench from DIR (and libraries from DIR/lib) instead of building
# ROW...          only rows of the benchmark whose name contains one of the words, e.g. "decode 1x"
#
# Building needs nvcc, CMake, GoogleTest and the libraries of the engine (scripts/setup.sh), no gRPC.
set -euo pipefail
source "$(dirname "$0")/common.sh"

prebuilt=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --prebuilt)
      [ $# -ge 2 ] || fail "--prebuilt needs a folder"
      prebuilt=$(cd "$2" && pwd)
      shift
      ;;
    *) fail "unknown option '$1'; usage: gpu_check.sh [--prebuilt DIR] [-- ROW...]" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift

command -v nvidia-smi >/dev/null || fail "no nvidia-smi: this machine has no NVIDIA GPU"
nvidia-smi -L
if [ -n "$prebuilt" ]; then
  tests=$prebuilt/cuda_test
  bench=$prebuilt/cuda_bench
  export LD_LIBRARY_PATH=$prebuilt/lib:${LD_LIBRARY_PATH:-}
else
  cd "$ROOT"
  log=$(mktemp)
  say "build ($JOBS jobs)"
  quietly "$log" cmake --preset cuda
  quietly "$log" cmake --build --preset cuda -j "$JOBS" --target cuda_test cuda_bench
  tests=build/cuda/tests/cuda/cuda_test
  bench=build/cuda/tests/bench/cuda_bench
fi

say "tests"
"$tests" --gtest_brief=1
if command -v compute-sanitizer >/dev/null; then
  # What only takes time under a sanitizer is left out.
  slow='*LargeMatrix*:*Move*:*PrefillEveryFormat*:*CudaModelTest*'
  say "memcheck"
  compute-sanitizer --tool memcheck --error-exitcode 1 "$tests" --gtest_brief=1 --gtest_filter="-$slow"
  say "racecheck"
  compute-sanitizer --tool racecheck --error-exitcode 1 "$tests" --gtest_brief=1 \
    --gtest_filter='*AttentionTest.*:*ProjectDecodeRows*:*StackedWithBias*:*SealEveryCodec*:*RopeAndStore*'
fi

say "benchmark"
"$bench" "$@"
