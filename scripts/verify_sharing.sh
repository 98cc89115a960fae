#!/usr/bin/env bash
# Shared prompts, requantization and accounting at full length: what the tests do in short.
#
# usage: verify_sharing.sh [BUILD_DIR] [MODEL]     a build with KVPARETO_BUILD_BENCH; default build/bench
#
#   1. 10,000 random requests through the scheduler, every slot that is read checked in every step
#   2. 50 requests with a common prompt of 4,096 tokens: the first token of the others at least 10 times
#      sooner than the first one's, the same answers, bytes counted once
#   3. a cache that is made smaller while it runs: divergence from the unchanged run over 4,096 positions in
#      8 places of a text, beside that of the smaller config from the start; fails if it is larger beyond chance
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

build=${1:-build/bench}
model=${2:-$MODEL_FILE}
config='k=int8-channel v=int8-token sink=16 recent=0 chunk=128'

say "soak"
KVPARETO_SOAK_REQUESTS=10000 "$build/tests/scheduler/scheduler_test" --gtest_filter='SoakTest.*' --gtest_brief=1

say "50 requests, 4,096 tokens in common"
result=$("$build/tests/bench/prefix_bench" "$model" 4096 50 "$config")
printf '%s\n' "$result"
python3 - "$result" <<'CHECK'
import json, sys
r = json.loads(sys.argv[1])
assert r["worst_speedup"] >= 10, "the first token comes less than 10 times sooner"
assert 0 < r["held_together_bytes"] < 50 * r["one_request_bytes"] / 5, "the common prompt is not held once"
CHECK

say "requantization"
text=$(mktemp)
trap 'rm -f "$text"' EXIT
cat LICENSE docs/*.md >"$text"
for pair in "bf16 bf16:int8-channel int8-token" "bf16 bf16:int4-channel int4-token-g32" \
  "int8-channel int8-token:int4-channel int4-token-g32"; do
  read -r from_k from_v <<<"${pair%%:*}"
  read -r to_k to_v <<<"${pair##*:}"
  result=$("$build/tests/bench/requantize_bench" "$model" "$text" 1500 512 8 \
    "k=$from_k v=$from_v sink=16 recent=0 chunk=128" "k=$to_k v=$to_v sink=16 recent=0 chunk=128")
  printf '%s -> %s: %s\n' "${pair%%:*}" "${pair##*:}" "$result"
  python3 - "$result" <<'CHECK'
import json, sys
r = json.loads(sys.argv[1])
assert r["changed"] > 0, "nothing has changed"
assert r["changed_to_bound"][0] <= 1, "the change loses more than the smaller config from the start"
CHECK
done
