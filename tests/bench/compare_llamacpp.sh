#!/usr/bin/env bash
# Builds the benchmark and compares with llama.cpp on the quick start's model.
#
# usage: compare_llamacpp.sh PEER_PYTHON [MODEL.gguf] [flags of compare_llamacpp.py]
#   PEER_PYTHON: interpreter with llama-cpp-python built natively
#                (CMAKE_ARGS="-DGGML_NATIVE=ON" pip install llama-cpp-python)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
peer=$1
shift
model=$root/models/SmolLM2-135M-Instruct.Q4_1.gguf
if [ $# -ge 1 ] && [ "${1#--}" = "$1" ]; then
  model=$1
  shift
fi
build=$root/build/bench
cmake -S "$root" -B "$build" -G Ninja -DKVPARETO_BUILD_SERVER=OFF -DKVPARETO_BUILD_BENCH=ON >/dev/null
ninja -C "$build" engine_bench >/dev/null
exec "$peer" "$root/tests/bench/compare_llamacpp.py" "$model" \
  --engine "$build/tests/bench/engine_bench" --peer-python "$peer" "$@"
