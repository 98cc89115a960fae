#!/usr/bin/env bash
# Formats the C++ sources with clang-format 14, or with --check only reports what differs.
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"

tool=$(command -v clang-format-14 || command -v clang-format) ||
  fail "no clang-format; run scripts/setup.sh --dev"
mode=(-i)
case ${1:-} in
  '') ;;
  --check) mode=(--dry-run -Werror) ;;
  *) fail "unknown argument '$1'; usage: format.sh [--check]" ;;
esac
git ls-files -z --cached --others --exclude-standard -- '*.h' '*.cc' '*.cu' '*.cuh' |
  xargs -0 --no-run-if-empty "$tool" "${mode[@]}"
[ "${1:-}" != --check ] || echo "format: clean"
