#!/usr/bin/env bash
# Packs the libraries that the engine needs on a GPU machine which has CUDA, CMake, Ninja and a C++
# compiler but cannot install packages. Run on a machine that scripts/setup.sh has prepared; give
# the result to gpu_check.sh --deps.
#
# usage: pack_gpu_deps.sh OUT.tar.gz
set -euo pipefail
source "$(dirname "$0")/common.sh"

[ $# -eq 1 ] || fail "usage: pack_gpu_deps.sh OUT.tar.gz"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
# Shared libraries come with the packages that the development packages depend on.
packages=(libabsl-dev libabsl20220623 libyaml-cpp-dev libyaml-cpp0.7 nlohmann-json3-dev libeigen3-dev
  libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libgtest-dev libgmock-dev pkgconf-bin
  libpkgconf3)

files=$(mktemp)
trap 'rm -f "$files"' EXIT
dpkg-query -L "${packages[@]}" |
  # Static libraries only where they are linked: those of the tests.
  grep -E '/(include|bin|lib|share/(cmake|eigen3|pkgconfig))/' | grep -vE '/lib[^/]*\.a$|^$' |
  while read -r path; do [ -d "$path" ] || printf '%s\n' "${path#/}"; done >"$files"
dpkg-query -L libgtest-dev libgmock-dev | sed -n 's,^/\(.*\.a\)$,\1,p' >>"$files"
tar -C / -czf "$out" --transform 's,^lib/,usr/lib/,' -T "$files"
echo "$out: $(wc -l <"$files") files, $(du -h "$out" | cut -f1)"
