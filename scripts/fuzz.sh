#!/usr/bin/env bash
# Fuzzes every target with libFuzzer, ASan and UBSan (clang): first what once failed, then new inputs.
#
# usage: fuzz.sh [SECONDS_PER_TARGET [TARGET...]]
#   SECONDS_PER_TARGET  60 by default; as many targets at a time as there are cores
#   TARGET              of tests/fuzz/targets.h; by default all but tune_spec, which needs the whole
#                       autotuner built
# Inputs that reach new code are kept in .cache/fuzz/TARGET, where the next run begins. An input that
# fails is left in .cache/fuzz/failures; once mended, it belongs in tests/fuzz/regressions/TARGET.
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds"
[ $# -eq 0 ] || shift
programs=build/asan/tests/fuzz
if [ $# -gt 0 ]; then
  targets=("$@")
  scripts/build.sh asan "${targets[@]/#/fuzz_}"
else
  scripts/build.sh asan fuzz_programs
  mapfile -t targets < <(find "$programs" -maxdepth 1 -type f -name 'fuzz_*' -executable \
    ! -name fuzz_tune_spec -printf '%f\n' | sed 's/^fuzz_//' | sort)
fi

found=.cache/fuzz failures=.cache/fuzz/failures
mkdir -p "$failures"
# No parser takes a gigabyte, or ten seconds, for 64 KiB.
bounds=(-max_len=65536 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512)
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# past TARGET: runs the inputs that once failed, if there are any.
past() {
  local inputs=(tests/fuzz/regressions/"$1"/*)
  [ ! -e "${inputs[0]}" ] || "$programs/fuzz_$1" "${bounds[@]}" "${inputs[@]}"
}
# new TARGET: looks for others.
new() {
  mkdir -p "$found/$1"
  "$programs/fuzz_$1" "${bounds[@]}" -max_total_time="$seconds" -print_final_stats=1 \
    -artifact_prefix="$failures/$1-" "$found/$1" "tests/fuzz/corpus/$1"
}
# fuzz TARGET: prints one line; on failure also the end of the fuzzer's log.
fuzz() {
  local log=$found/$1.log
  if ! { past "$1" && new "$1"; } >"$log" 2>&1; then
    printf '%-18s FAILED\n' "$1"
    tail -n 60 "$log" >&2
    return 1
  fi
  printf '%-18s %9d inputs, %d kept\n' "$1" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(sed -n 's/^stat::new_units_added: *//p' "$log")"
}

failed=0 running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "$JOBS" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
[ "$failed" -eq 0 ] || fail "inputs that fail are in $failures"
