#!/usr/bin/env bash
# From a bare Debian 12 to an answer: installs packages, builds, fetches SmolLM2-135M, starts the
# server, and asks it a question about 6,000 tokens of a novel, in a third of the memory that a bf16
# cache would take.
#
# usage: quickstart.sh [--once]     --once stops the server at the end; otherwise it runs until Ctrl-C
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

GRPC=127.0.0.1:50051  # as in deploy/quickstart.yaml
METRICS=http://127.0.0.1:9464/metrics
PROMPT=deploy/samples/northanger_abbey_prompt.txt
ACCURACY=0.90
BF16="k=bf16 v=bf16 sink=0 recent=0 chunk=256"
MAX_TOKENS=64
KVPARETO=build/release/clients/cli/kvpareto
SERVER=build/release/server/kvpareto-server
SERVER_LOG=build/quickstart-server.log

once=false
case ${1:-} in
  '') ;;
  --once) once=true ;;
  *) fail "unknown argument '$1'; usage: quickstart.sh [--once]" ;;
esac

server_pid=
poller_pid=
work=$(mktemp -d)
cleanup() {
  [ -z "$poller_pid" ] || kill "$poller_pid" 2>/dev/null || true
  if [ -n "$server_pid" ] && kill -TERM "$server_pid" 2>/dev/null; then
    # It lets running requests finish, for 30 s at most.
    local tries=0
    while kill -0 "$server_pid" 2>/dev/null && [ "$tries" -lt 160 ]; do
      sleep 0.25
      tries=$((tries + 1))
    done
    kill -KILL "$server_pid" 2>/dev/null || true
    echo "server stopped"
  fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

listening() { (: <"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; }

# Nonzero KV bytes by class and config, on one line, as /metrics has them now.
kv_bytes_line() {
  curl --silent --max-time 2 "$METRICS" |
    awk '/^kvpareto_kv_allocated_bytes\{/ && $NF > 0 { printf "%s%s", sep, $0; sep = "; " }
         END { if (sep != "") print "" }'
}

# Prints each change of these bytes, until the answer begins (it would be torn apart); from then on the
# lines are kept for later.
poll_metrics() {
  local previous='' line
  while true; do
    line=$(kv_bytes_line || true)
    if [ -n "$line" ] && [ "$line" != "$previous" ]; then
      if [ -s "$work/answer" ]; then
        echo "  $line" >>"$work/later"
      else
        echo "  $line"
      fi
      previous=$line
    fi
    sleep 0.25
  done
}

start_server() {
  ! listening "$GRPC" || fail "$GRPC is taken: is a server running already?"
  [ -x "$SERVER" ] || fail "no $SERVER"
  # In a session of its own, so that Ctrl-C reaches this script alone, which then stops it in order.
  setsid "$SERVER" --config deploy/quickstart.yaml >"$SERVER_LOG" 2>&1 </dev/null &
  server_pid=$!
  local tries=0
  until "$KVPARETO" --server "$GRPC" --timeout 2 models >"$work/models" 2>/dev/null; do
    if ! kill -0 "$server_pid" 2>/dev/null; then
      server_pid=
      tail -n 20 "$SERVER_LOG" >&2
      fail "the server did not start"
    fi
    tries=$((tries + 1))
    [ "$tries" -lt 240 ] || fail "the server is not ready after 60 s; see $SERVER_LOG"
    sleep 0.25
  done
  cat "$work/models"
  echo "log: $SERVER_LOG"
}

ask() {
  local request=(--server "$GRPC" --chat --file "$PROMPT" --max-tokens "$MAX_TOKENS")
  local bf16_bytes budget_bytes
  bf16_bytes=$("$KVPARETO" plan "${request[@]}" --config "$BF16" --raw |
    sed -n 's/^predicted_peak_bytes=//p')
  budget_bytes=$((bf16_bytes / 3))
  echo "prompt: $PROMPT, $("$KVPARETO" tokens --server "$GRPC" --chat --file "$PROMPT" 2>/dev/null) tokens"
  tail -n 1 "$PROMPT"
  echo "in bf16 it would take $bf16_bytes bytes; budget: a third, $budget_bytes bytes;" \
    "accuracy: at least $ACCURACY"

  say "KV bytes from $METRICS while it runs"
  : >"$work/answer"
  poll_metrics &
  poller_pid=$!
  "$KVPARETO" generate "${request[@]}" --budget "$budget_bytes" --accuracy "$ACCURACY" --explain \
    2>"$work/explain" | tee_answer || {
    cat "$work/explain" >&2
    fail "the request failed"
  }
  kill "$poller_pid" 2>/dev/null || true
  wait "$poller_pid" 2>/dev/null || true
  poller_pid=
  if [ -s "$work/later" ]; then
    echo "KV bytes during the answer:"
    cat "$work/later"
  fi
  say "Plan, and what was measured"
  cat "$work/explain"
}

# Shows the answer as it streams and notes that it has begun.
tee_answer() {
  local first=true character
  while IFS= read -r -N 1 character; do
    if $first; then
      printf '%s' "$character" >"$work/answer"
      say "Answer"
      first=false
    fi
    printf '%s' "$character"
  done
}

say "1/5 Packages"
scripts/setup.sh
say "2/5 Build"
scripts/build.sh release kvpareto kvpareto-server
say "3/5 Model"
scripts/fetch_model.sh
say "4/5 Server"
start_server
say "5/5 A long prompt"
ask

say "Try next"
cat <<TEXT
  $KVPARETO generate --explain "The capital of France is"
  $KVPARETO chat
  $KVPARETO plan --chat --file $PROMPT --budget 64MiB --accuracy 0.95
  $KVPARETO table
  $KVPARETO memory
  curl -s $METRICS | grep ^kvpareto_
TEXT
if $once; then exit 0; fi
echo
echo "The server runs on $GRPC until Ctrl-C."
wait "$server_pid"
