#!/usr/bin/env bash
# Installs the packages of scripts/package.sh where nothing else is, and asks the server for an answer:
# the Debian package in a bare Debian 12, the tarball in a bare Debian 13. Needs root, mmdebstrap, and
# the model of scripts/fetch_model.sh.
#
# usage: verify_package.sh PACKAGES [WORK]     PACKAGES: folder that package.sh filled;
#                                              WORK: for the chroots, removed at the end (a new one)
set -euo pipefail
source "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || fail "usage: verify_package.sh PACKAGES [WORK]"
packages=$(cd "$1" && pwd)
[ $# -lt 2 ] || mkdir -p "$2"
work=$(mktemp -d -p "${2:-${TMPDIR:-/tmp}}" kvpareto-package-XXXXXX)
server_pid=
cleanup() {
  [ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
[ -e "$MODEL_FILE" ] || fail "no model; run scripts/fetch_model.sh"

# bare_debian RELEASE: a chroot with what Debian needs to install packages, in $work/RELEASE.
bare_debian() {
  quietly "$work/mmdebstrap.log" mmdebstrap --variant=minbase "$1" "$work/$1"
  mkdir -p "$work/$1/srv/kvpareto"
  cp "$MODEL_FILE" "$work/$1/srv/kvpareto"
}

# in_chroot CHROOT COMMAND...: instead of this shell, with /proc, by which the loader finds the libraries of a bundle.
in_chroot() {
  # shellcheck disable=SC2016  # the inner shell expands these
  exec unshare --mount --propagation private sh -euc '
    root=$1; shift; mount -t proc proc "$root/proc"; exec chroot "$root" "$@"' - "$@"
}

# serves CHROOT PREFIX CONFIG: the server under PREFIX starts, is ready, answers and stops in order.
serves() {
  local root=$1 bin=$2/bin config=$3 log=$work/server.log port
  sed -i -E 's/^  (grpc|http|metrics): .*/  \1: 127.0.0.1:0/' "$root/$config"
  (in_chroot "$root" "$bin/kvpareto-server" --check --config="$config")
  (in_chroot "$root" "$bin/kvpareto-server" --config="$config") >"$log" 2>&1 &
  server_pid=$!
  port=$(served_port "$log" "$server_pid")
  (in_chroot "$root" "$bin/kvpareto" health --server "127.0.0.1:$port")
  (in_chroot "$root" "$bin/kvpareto" generate --server "127.0.0.1:$port" --max-tokens 8 \
    "The capital of France is")
  kill -TERM "$server_pid"
  wait "$server_pid" || fail "the server ended with status $?"
  server_pid=
  # Abseil ends --help with status 1.
  grep -q -e --contexts <(in_chroot "$root" "$bin/kvpareto-tune" --help=autotuner/) ||
    fail "kvpareto-tune does not run"
}

say "Debian package, in a bare Debian 12"
bare_debian bookworm
deb=$(ls "$packages"/kvpareto_*.deb)
cp "$deb" "$work/bookworm/kvpareto.deb"
cp /etc/resolv.conf "$work/bookworm/etc/"
quietly "$work/update.log" chroot "$work/bookworm" apt-get update
quietly "$work/install.log" chroot "$work/bookworm" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends ./kvpareto.deb
serves "$work/bookworm" /usr /etc/kvpareto/server.yaml
quietly "$work/systemd.log" chroot "$work/bookworm" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends systemd
chroot "$work/bookworm" systemd-analyze verify --man=no kvpareto.service && echo "unit: no complaints"
chroot "$work/bookworm" systemd-analyze security --offline=true --threshold=20 kvpareto.service |
  tail -n 1
quietly "$work/remove.log" chroot "$work/bookworm" dpkg --purge kvpareto
[ ! -e "$work/bookworm/etc/kvpareto" ] || fail "purging left /etc/kvpareto"

say "Tarball, in a bare Debian 13"
bare_debian trixie
tarball=$(ls "$packages"/kvpareto-*.tar.gz)
mkdir "$work/trixie/opt/kvpareto"
tar -C "$work/trixie/opt/kvpareto" --strip-components=1 -xzf "$tarball"
cat >"$work/trixie/opt/kvpareto/server.yaml" <<'YAML'
listen:
  grpc: 127.0.0.1:50051
  metrics: 127.0.0.1:9464
models:
  - name: smollm2-135m
    path: /srv/kvpareto/SmolLM2-135M-Instruct.Q4_1.gguf
    table: share/kvpareto/tables/smollm2-135m.yaml
    kv_capacity: 512MiB
YAML
serves "$work/trixie" /opt/kvpareto /opt/kvpareto/server.yaml

say "sizes"
du -h "$deb" "$tarball" | sed "s#$packages/##"
