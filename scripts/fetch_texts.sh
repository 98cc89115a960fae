#!/usr/bin/env bash
# Puts six novels by Jane Austen (public domain, 4 MB) into models/austen_0.txt to austen_5.txt, from
# Debian's package r-cran-janeaustenr, which is only unpacked. Texts that are there are kept.
set -euo pipefail
source "$(dirname "$0")/common.sh"

PACKAGE=r-cran-janeaustenr
if [ -s "$ROOT/models/austen_5.txt" ]; then
  echo "texts: models/austen_*.txt are there"
  exit 0
fi
mkdir -p "$ROOT/models"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "texts: fetching $PACKAGE"
(cd "$work" && quietly "$work/apt.log" apt-get download "$PACKAGE" && dpkg -x ./*.deb unpacked)
data=$(find "$work/unpacked" -name '*.rdb' -size +1M -print -quit)
[ -n "$data" ] || fail "$PACKAGE holds no data"
python3 "$ROOT/scripts/r_texts.py" "$data" "$ROOT/models/austen"
