#!/usr/bin/env bash
# Makes .cache/venv, the Python environment of the tests that use real clients, from
# tests/requirements.txt. One that was made from the same file is kept.
set -euo pipefail
source "$(dirname "$0")/common.sh"

REQUIREMENTS=$ROOT/tests/requirements.txt
VENV=$ROOT/.cache/venv
MADE_FROM=$VENV/requirements.txt # written last: there only if the environment is complete

if cmp -s "$REQUIREMENTS" "$MADE_FROM" && "$VENV/bin/python" -c '' 2>/dev/null; then
  echo "python environment: ${VENV#"$ROOT"/} (unchanged)"
  exit 0
fi

python=$(python_with ensurepip)
mkdir -p "$ROOT/.cache"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "python environment: installing tests/requirements.txt"
quietly "$log" "$python" -m venv --clear "$VENV"
quietly "$log" "$VENV/bin/python" -m pip install --disable-pip-version-check \
  --requirement "$REQUIREMENTS"
cp "$REQUIREMENTS" "$MADE_FROM"
