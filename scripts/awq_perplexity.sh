#!/usr/bin/env bash
# What 4-bit weights cost a model: perplexity of a text under the weights as they are, rounded plainly
# to int4, and quantized by AWQ (docs/awq.md), and the difference of the two with its confidence
# interval over windows. Both checkpoints are made in a temporary folder.
#
# usage: awq_perplexity.sh KVPARETO_TUNE MODEL CALIBRATION[,CALIBRATION...] TEXT [--group=64]
# SAMPLES (64), SEARCH_SAMPLES (4) and TOKENS (32768) of the environment bound what it takes.
set -euo pipefail
source "$(dirname "$0")/common.sh"

[ $# -ge 4 ] || fail "usage: awq_perplexity.sh KVPARETO_TUNE MODEL CALIBRATION[,...] TEXT [--group=64]"
tune=$1 model=$2 calibration=$3 text=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$tune" awq --model "$model" --out "$work/plain" --grid 0 --noclip --rounding nearest "$@" 2>"$work/plain.log" ||
  { cat "$work/plain.log" >&2; fail "plain rounding failed"; }
"$tune" awq --model "$model" --out "$work/awq" --text "$calibration" --samples "${SAMPLES:-64}" \
  --search_samples "${SEARCH_SAMPLES:-4}" "$@" 2>"$work/awq.log" ||
  { cat "$work/awq.log" >&2; fail "AWQ failed"; }
tail -n 1 "$work/awq.log"
perplexity() {
  "$tune" perplexity --text "$text" --tokens "${TOKENS:-32768}" --window_tokens 512 "$@" 2>/dev/null
}
echo "as it is: $(perplexity --model "$model")"
echo "AWQ, plain rounding:"
perplexity --model "$work/awq" --against "$work/plain"
