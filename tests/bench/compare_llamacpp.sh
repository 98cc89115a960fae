#!/usr/bin/env bash
# Builds the benchmarks and compares with llama.cpp on the quick start's model.
#
# usage: compare_llamacpp.sh PEER_PYTHON [MODEL.gguf] [flags of compare_llamacpp.py]
#   PEER_PYTHON: interpreter with llama-cpp-python built natively
#                (CMAKE_ARGS="-DGGML_NATIVE=ON" pip install llama-cpp-python)
#   --llama-server FILE: llama-server built from the same source, for the works that go through servers
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,7p' "$0" >&2; exit 2; }
peer=$1
shift
model=$root/models/SmolLM2-135M-Instruct.Q4_1.gguf
if [ $# -ge 1 ] && [ "${1#--}" = "$1" ]; then
  model=$1
  shift
fi
build=$root/build/bench
cmake -S "$root" -B "$build" -G Ninja -DKVPARETO_BUILD_BENCH=ON >/dev/null
ninja -C "$build" engine_bench server_bench kvpareto-server >/dev/null
exec python3 "$root/tests/bench/compare_llamacpp.py" "$model" --peer-python "$peer" \
  --engine "$build/tests/bench/engine_bench" --server "$build/server/kvpareto-server" \
  --server-bench "$build/tests/bench/server_bench" "$@"
