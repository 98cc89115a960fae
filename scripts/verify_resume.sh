#!/usr/bin/env bash
# Kills a tuning run with SIGKILL at random moments and lets it go on, TIMES times; then its table and
# results must be those of a run that was never killed, byte for byte. Speeds are measurements, so
# both runs take them from one journal.
#
# usage: verify_resume.sh TUNER FILE.yaml FOLDER [TIMES] [SEED]     (FOLDER is emptied)
set -euo pipefail

tuner=$(realpath "${1:?usage: verify_resume.sh TUNER FILE.yaml FOLDER [TIMES] [SEED]}")
file=$(realpath "${2:?no FILE.yaml}")
folder=${3:?no FOLDER}
times=${4:-10}
RANDOM=${5:-1}
say() { printf '%s\n' "$*"; }

rm -rf "$folder"
mkdir -p "$folder"
folder=$(realpath "$folder")
# The command is part of the results, so both runs have the same: it names a link to their folder.
# In a shell of its own, which it replaces by the tuner.
run() { cd "$folder" && exec "$tuner" run "$file" --out run >"$folder/log" 2>&1; }

mkdir "$folder/whole" "$folder/killed"
ln -sfn whole "$folder/run"
begun=$(date +%s%N)
(run) || { cat "$folder/log" >&2; exit 1; }
took_ms=$((($(date +%s%N) - begun) / 1000000))
say "a whole run takes $took_ms ms; killing $times times"

grep -E '"what":"(speed|date)' "$folder/whole/journal.jsonl" >"$folder/killed/journal.jsonl"
ln -sfn killed "$folder/run"
killed=0
records() { wc -l <"$folder/killed/journal.jsonl"; }
progressed() { [ "$(records)" -gt "$before" ]; }
ended() { ! readlink -e "/proc/$pid/exe" >/dev/null; }

for i in $(seq "$times"); do
  before=$(records)
  run &
  pid=$!
  # Every other time from the start on, as while it calibrates, of which the journal keeps nothing;
  # else after a record, so that all the kills together get to the end of the run.
  if [ $((i % 2)) = 0 ]; then
    until progressed || ended; do sleep 0.05; done
  fi
  pause_ms=$((RANDOM % (3 * took_ms / (2 * times) + 1)))
  sleep "$((pause_ms / 1000)).$(printf '%03d' $((pause_ms % 1000)))"
  # `run` has replaced its shell by the tuner, unless it has had no time to.
  if [ "$(readlink "/proc/$pid/exe")" = "$tuner" ]; then killed=$((killed + 1)); fi
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  say "after $pause_ms ms: $(records) records, $killed kills"
done
(run) || { cat "$folder/log" >&2; exit 1; }
[ "$killed" -gt 0 ] || { say "no run was still there to be killed"; exit 1; }
say "the whole run has $(wc -l <"$folder/whole/journal.jsonl") records"
for result in "$folder"/whole/*.yaml "$folder/whole/results.json" "$folder/whole/results.csv"; do
  cmp "$result" "$folder/killed/$(basename "$result")"
done
say "killed $killed times: the same tables and results, byte for byte"
