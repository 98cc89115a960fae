#!/usr/bin/env bash
# Writes docs/dependencies.md: the Debian packages that scripts/setup.sh installs and what else the
# programs load, with the versions on this machine; and what tests take from PyPI.
#
# usage: list_dependencies.sh [--check]     --check only fails when packages are missing from it
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

document=docs/dependencies.md
mapfile -t packages < <(scripts/setup.sh --dev --fuzz --list | sort)
if [ "${1:-}" = --check ]; then
  for package in "${packages[@]}"; do
    grep -q "^| \`$package\` |" "$document" || fail "$document lacks $package: run $0"
  done
  echo "dependencies: all ${#packages[@]} listed"
  exit
fi

# rows PACKAGE...: one line of a Markdown table each.
rows() {
  dpkg-query --show --showformat='| `${Package}` | ${Version} | ${binary:Summary} |\n' "$@" | sort -u
}
# Packages of the shared libraries that the programs load.
loaded() {
  local library
  ldd build/release/server/kvpareto-server build/release/autotuner/kvpareto-tune |
    sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u | while read -r library; do
    dpkg-query --search "*/$(basename "$library")" | head -n 1 | cut -d: -f1
  done | sort -u
}

{
  cat <<'TEXT'
# Dependencies

Made by `scripts/list_dependencies.sh`, with the versions that were installed when it ran; Debian 12 gives newer ones when it mends
security faults. Licences: `NOTICE`. The tarball, the Debian package and the container images say which packages their own copies
of libraries come from (`scripts/record_packages.sh`).

## To build and test, from Debian 12

| package | version | what it is |
|---|---|---|
TEXT
  rows "${packages[@]}"
  cat <<'TEXT'

## Shared libraries that the programs load

| package | version | what it is |
|---|---|---|
TEXT
  mapfile -t libraries < <(loaded)
  rows "${libraries[@]}"
  cat <<'TEXT'

## From PyPI, for tests alone

Exact versions are in `tests/requirements.txt`; what those ask for in turn comes with them.

| package | version |
|---|---|
TEXT
  sed -n 's/^\([^#=]*\)==\(.*\)$/| `\1` | \2 |/p' tests/requirements.txt
} >"$document"
echo "$document: ${#packages[@]} packages, ${#libraries[@]} loaded ones"
