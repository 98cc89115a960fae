# Sourced by the scripts beside it: where things are, and how progress is shown.
# shellcheck shell=bash disable=SC2034  # used by the scripts that source this

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MODEL_FILE=$ROOT/models/SmolLM2-135M-Instruct.Q4_1.gguf
JOBS=${KVPARETO_JOBS:-$(nproc)}

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: runs the command with its output in LOG and a dot every two seconds; shows
# the end of LOG when it fails.
quietly() {
  local log=$1 ticker rc=0 started=$SECONDS
  shift
  (while sleep 2; do printf '.'; done) &
  ticker=$!
  "$@" >"$log" 2>&1 </dev/null || rc=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  [ $((SECONDS - started)) -lt 2 ] || printf '\n'
  if [ "$rc" -ne 0 ]; then
    tail -n 30 "$log" >&2
    fail "failed ($rc): $*"
  fi
}

# python_with MODULE: prints the first Python that has it, the one on the PATH or Debian's own.
python_with() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c "import $1" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no python3 has the module $1; run scripts/setup.sh first"
}

# served_port LOG PID: prints the port on which the server PID, which writes LOG, takes gRPC; waits for
# it for a minute.
served_port() {
  local port tries=0
  until port=$(sed -nE '/grpc_address/s/.*port"?[=:]([0-9]+).*/\1/p' "$1") && [ -n "$port" ]; do
    tries=$((tries + 1))
    if ! kill -0 "$2" 2>/dev/null || [ "$tries" -gt 240 ]; then
      cat "$1" >&2
      fail "the server does not start"
    fi
    sleep 0.25
  done
  echo "$port"
}
