#!/usr/bin/env bash
# Builds the CUDA backend for this machine's GPU, tests it, also under compute-sanitizer, runs its
# benchmark, and prints one table.
#
# usage: gpu_check.sh [--deps FILE] [--no-sanitizer] [-- ROW...]
#
# --deps FILE     takes the engine's libraries from FILE (scripts/pack_gpu_deps.sh), not the system
# --no-sanitizer  leaves memcheck and racecheck out
# ROW...          only rows of the benchmark whose name contains one of the words, e.g. "decode 1x"
#
# Building needs nvcc, CMake, Ninja, a C++20 compiler, and GoogleTest and the libraries of the engine
# from either place; no gRPC. Logs are left in build/gpu_check.
set -euo pipefail
source "$(dirname "$0")/common.sh"

deps=''
sanitizer=1
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --deps)
      [ $# -ge 2 ] || fail "--deps needs a file"
      deps=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
      shift
      ;;
    --no-sanitizer) sanitizer='' ;;
    *) fail "unknown option '$1'; usage: gpu_check.sh [--deps FILE] [--no-sanitizer] [-- ROW...]" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift

command -v nvidia-smi >/dev/null || fail "no nvidia-smi: this machine has no NVIDIA GPU"
export PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || fail "no nvcc, neither on the PATH nor in /usr/local/cuda/bin"
build=$ROOT/build/gpu_check
mkdir -p "$build"

# What only Hopper has (wgmma) needs the architecture's own target.
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$capability" -lt 90 ] || capability+=a

if [ -n "$deps" ]; then
  prefix=$build/deps
  rm -rf "$prefix" && mkdir -p "$prefix"
  tar -C "$prefix" -xzf "$deps"
  libraries=$prefix/usr/lib/$(uname -m)-linux-gnu
  export CMAKE_PREFIX_PATH=$prefix/usr LD_LIBRARY_PATH=$libraries:${LD_LIBRARY_PATH:-}
  export PKG_CONFIG=$prefix/usr/bin/pkgconf PKG_CONFIG_SYSROOT_DIR=$prefix
  export PKG_CONFIG_LIBDIR=$libraries/pkgconfig:$prefix/usr/share/pkgconfig
fi

summary=()
# step NAME COMMAND...: runs the command with its output in a log, and keeps how long it took.
step() {
  local name=$1 started=$SECONDS
  shift
  say "$name"
  quietly "$build/$name.log" "$@"
  summary+=("$(printf '%-10s passed, %d s' "$name" $((SECONDS - started)))")
}

step configure cmake -S "$ROOT" -B "$build" -G Ninja -D CMAKE_BUILD_TYPE=Release \
  -D KVPARETO_CUDA=ON -D "CMAKE_CUDA_ARCHITECTURES=$capability-real" \
  -D KVPARETO_BUILD_SERVER=OFF -D KVPARETO_BUILD_BENCH=ON
step build cmake --build "$build" -j "$JOBS" --target cuda_test cuda_bench
tests=$build/tests/cuda/cuda_test
step tests "$tests" --gtest_brief=1
# Both at once. What only takes time under memcheck is left out; of racecheck, what runs the
# library's kernels for prefill rows, which report races of their own.
sanitizers() {
  local rc=0
  local slow='*LargeMatrix*:*Move*:*PrefillEveryFormat*:*CudaModelTest*:*EveryWayToChoose*:*LongLists*'
  local raced='*AttentionTest.*:*ProjectDecodeRows*:*StackedWithBias*:*SealEveryCodec*:*RopeAndStore*'
  compute-sanitizer --tool racecheck --error-exitcode 1 "$tests" --gtest_brief=1 \
    --gtest_filter="$raced:*SampleTest.P*:-*EveryPair*" >"$build/racecheck.log" 2>&1 &
  compute-sanitizer --tool memcheck --error-exitcode 1 "$tests" --gtest_brief=1 \
    --gtest_filter="-$slow" || rc=1
  wait $! || rc=1
  tail -n 15 "$build/racecheck.log"
  return $rc
}
if [ -n "$sanitizer" ] && command -v compute-sanitizer >/dev/null; then
  step sanitizers sanitizers
fi
step benchmark "$build/tests/bench/cuda_bench" "$@"

say "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1), $SECONDS s in all"
tail -n 2 "$build/tests.log"
[ ! -e "$build/sanitizers.log" ] || grep -h SUMMARY "$build/sanitizers.log"
printf '%s\n' "${summary[@]}"
cat "$build/benchmark.log"
