#!/usr/bin/env bash
# Builds the programs and lays out the root of the image: what cmake --install puts there, the C
# library, and the record of the packages that the libraries are from. Runs in the build stage.
#
# usage: build.sh ROOT [CMAKE_OPTION...]     $JOBS: parallel jobs
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1
shift

# Results of the compiler may come from a folder that is mounted there.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
cmake -S . -B build -G Ninja -D CMAKE_BUILD_TYPE=Release -D CMAKE_INSTALL_PREFIX=/usr \
  -D KVPARETO_BUNDLE=ON -D KVPARETO_BUILD_TESTS=OFF "$@"
cmake --build build -j "${JOBS:-$(nproc)}"
DESTDIR=$root cmake --install build --strip
# Man pages, completions and documents are for people at a terminal.
rm -rf "$root"/usr/share/{man,bash-completion,zsh} "$root"/usr/share/doc/kvpareto/docs

# The loader and the parts of the C library, where the programs look for them.
for program in "$root"/usr/bin/*; do
  ldd "$program"
done | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }' | grep -v "^$root" | sort -u |
  while read -r library; do
    install -D "$(readlink -f "$library")" "$root$library"
  done
scripts/record_packages.sh "$root" "$root/usr/share/doc/kvpareto/third_party"

install -D -m 644 docker/server.yaml "$root/etc/kvpareto/server.yaml"
printf 'kvpareto:x:10001:10001::/:/nonexistent\n' >"$root/etc/passwd"
printf 'kvpareto:x:10001:\n' >"$root/etc/group"
mkdir -p "$root/models"
