#!/usr/bin/env bash
# Installs what building and testing needs, from Debian 12's own packages. Nothing happens when all of
# it is there. Works as root or with sudo.
#
# usage: setup.sh [--dev] [--fuzz] [--list]
#   --dev   adds what scripts/format.sh needs
#   --fuzz  adds what scripts/fuzz.sh and scripts/sanitize.sh need
#   --list  prints the packages instead of installing them
set -euo pipefail
source "$(dirname "$0")/common.sh"

# The one list of packages: build tools; libraries; what the scripts call.
PACKAGES=(
  g++ cmake ninja-build ccache mold pkg-config git
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libabsl-dev
  libssl-dev libc-ares-dev libre2-dev zlib1g-dev
  prometheus-cpp-dev libcurl4-openssl-dev
  libyaml-cpp-dev libboost-dev nlohmann-json3-dev libeigen3-dev libpcre2-dev libutf8proc-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-pip python3-venv python3-numpy curl unzip ca-certificates
)
DEV_PACKAGES=(clang-format-14 shellcheck)
FUZZ_PACKAGES=(clang-16 libclang-rt-16-dev llvm-16)  # llvm-16: line numbers in reports

list=false
for argument; do
  case $argument in
    --dev) PACKAGES+=("${DEV_PACKAGES[@]}") ;;
    --fuzz) PACKAGES+=("${FUZZ_PACKAGES[@]}") ;;
    --list) list=true ;;
    *) fail "unknown argument '$argument'; usage: setup.sh [--dev] [--fuzz] [--list]" ;;
  esac
done
if $list; then
  printf '%s\n' "${PACKAGES[@]}"
  exit
fi

missing=()
for package in "${PACKAGES[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#PACKAGES[@]} present"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "needs root or sudo to install: ${missing[*]}"
  as_root=(sudo)
  sudo -v
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "packages: installing ${missing[*]}"
quietly "$log" "${as_root[@]}" apt-get update
quietly "$log" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"
