#!/usr/bin/env bash
# Puts prometheus and promtool, from Debian's package, into .cache/prometheus/. The package is only
# unpacked, never installed: installing it would start a Prometheus on this machine.
set -euo pipefail
source "$(dirname "$0")/common.sh"

TOOLS=$ROOT/.cache/prometheus

if "$TOOLS/promtool" --version >/dev/null 2>&1; then
  echo "prometheus: ${TOOLS#"$ROOT"/} (kept)"
  exit 0
fi
mkdir -p "$ROOT/.cache"
work=$(mktemp -d "$ROOT/.cache/fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download prometheus >download.log 2>&1; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  quietly update.log "${as_root[@]}" apt-get update
  quietly download.log apt-get download prometheus
fi
dpkg-deb --extract prometheus_*.deb unpacked
mkdir -p "$TOOLS"
mv unpacked/usr/bin/prometheus unpacked/usr/bin/promtool "$TOOLS"
echo "prometheus: ${TOOLS#"$ROOT"/} ($("$TOOLS/promtool" --version 2>&1 | head -n 1))"
