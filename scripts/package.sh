#!/usr/bin/env bash
# Builds the release packages: a Debian package, and a tarball that runs from any folder of any Linux
# with the C library of Debian 12 or newer.
#
# usage: package.sh OUT [BUILD]     OUT: folder for the packages; BUILD: build folder (build/package)
set -euo pipefail
source "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || fail "usage: package.sh OUT [BUILD]"
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$ROOT"
build=${2:-build/package}

# configure_and_build OPTION...
configure_and_build() {
  quietly "$out/build.log" cmake -S . -B "$build" -G Ninja -D CMAKE_BUILD_TYPE=Release \
    -D CMAKE_INSTALL_PREFIX=/usr "$@"
  quietly "$out/build.log" cmake --build "$build" -j "$JOBS" \
    --target kvpareto kvpareto-server kvpareto-tune kvpareto-sim
}

say "Debian package"
configure_and_build -D KVPARETO_BUNDLE=OFF
quietly "$out/cpack.log" cpack -G DEB --config "$build/CPackConfig.cmake" -B "$out/cpack"
mv "$out"/cpack/*.deb "$out"
rm -rf "$out/cpack"
ls -sh "$out"/*.deb

say "tarball"
version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")
name=kvpareto-$version-linux-$(uname -m)
configure_and_build -D KVPARETO_BUNDLE=ON
rm -rf "${out:?}/$name"
quietly "$out/install.log" cmake --install "$build" --prefix "$out/$name" --strip
# The list of packages is for images; the copyright files are for everyone.
scripts/record_packages.sh "$out/$name" "$out/$name/share/doc/kvpareto/third_party"
rm -rf "${out:?}/$name/var"
tar -C "$out" --owner=0 --group=0 --sort=name -czf "$out/$name.tar.gz" "$name"
rm -rf "${out:?}/$name"
ls -sh "$out/$name.tar.gz"
