#!/usr/bin/env bash
# Builds the CPU image without a container engine, on a Debian 12 of its own making, and runs it as a
# cluster would: as user 10001, on a read-only root, without capabilities. Needs root, buildah,
# mmdebstrap, and the model of scripts/fetch_model.sh.
#
# usage: verify_image.sh [WORK [DOCKERFILE]]     WORK: for images, removed at the end (a new folder);
#                                                DOCKERFILE: docker/Dockerfile.cpu
# KVPARETO_CCACHE=DIR lends the build a folder of ccache. KVPARETO_ROOTFS=DIR gets a copy of the
# image's root, for scripts/verify_ecosystem.py.
set -euo pipefail
source "$(dirname "$0")/common.sh"
cd "$ROOT"
[ $# -lt 1 ] || mkdir -p "$1"
work=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}" kvpareto-image-XXXXXX)
dockerfile=${2:-docker/Dockerfile.cpu}
MAX_BYTES=120000000 # of the CPU image, without weights
server_pid=
cleanup() {
  [ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null || true
  b umount --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
[ -e "$MODEL_FILE" ] || fail "no model; run scripts/fetch_model.sh"

b() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }

say "base image: Debian 12"
quietly "$work/mmdebstrap.log" mmdebstrap --variant=minbase bookworm "$work/base.tar"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
base=$(b from scratch)
b add --quiet "$base" "$work/base.tar" / >/dev/null
b commit --quiet --rm "$base" localhost/debian:bookworm >/dev/null
rm "$work/base.tar"

say "build: $dockerfile"
cache=()
[ -z "${KVPARETO_CCACHE:-}" ] || cache=(--volume "$KVPARETO_CCACHE:/root/.cache/ccache")
quietly "$work/build.log" b build --isolation chroot --network host \
  --signature-policy "$work/policy.json" --build-arg BUILD_BASE=localhost/debian:bookworm \
  --build-arg JOBS="$JOBS" "${cache[@]}" --file "$dockerfile" --tag localhost/kvpareto:test .
container=$(b from localhost/kvpareto:test)
rootfs=$(b mount "$container")
bytes=$(du --summarize --bytes "$rootfs" | cut -f1)
echo "size: $((bytes / 1000000)) MB; packages: $(find "$rootfs/var/lib/dpkg/status.d" -type f -printf '%f ')"
[ "$bytes" -lt "$MAX_BYTES" ] || [ "$dockerfile" != docker/Dockerfile.cpu ] ||
  fail "the image has $bytes bytes; at most $MAX_BYTES"
[ -z "${KVPARETO_ROOTFS:-}" ] || { mkdir -p "$KVPARETO_ROOTFS" && cp -a "$rootfs/." "$KVPARETO_ROOTFS"; }
b inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}' \
  localhost/kvpareto:test

# in_container COMMAND...: with the image's root read-only, its user, and /proc and the model mounted.
in_container() {
  # shellcheck disable=SC2016  # the inner shell expands these
  exec unshare --mount --propagation private sh -euc '
    root=$1; models=$2; shift 2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --bind "$models" "$root/models"
    mount -o remount,bind,ro "$root"
    if touch "$root/written" 2>/dev/null; then echo "the root is writable" >&2; exit 1; fi
    exec setpriv --no-new-privs chroot --userspec=10001:10001 "$root" "$@"' - "$rootfs" "$(dirname "$(readlink -f "$MODEL_FILE")")" "$@"
}

say "run"
mkdir -p "$rootfs/proc"
sed 's/0.0.0.0:[0-9]*/127.0.0.1:0/' docker/server.yaml >"$rootfs/etc/kvpareto/server.yaml"
(in_container /usr/bin/kvpareto-server --config=/etc/kvpareto/server.yaml) >"$work/server.log" 2>&1 &
server_pid=$!
port=$(served_port "$work/server.log" "$server_pid")
grep -e '^Uid' -e '^CapEff' "/proc/$server_pid/status"
(in_container /usr/bin/kvpareto health --server "127.0.0.1:$port")
(in_container /usr/bin/kvpareto generate --server "127.0.0.1:$port" --max-tokens 8 \
  "The capital of France is")
kill -TERM "$server_pid"
wait "$server_pid" || fail "the server ended with status $?"
server_pid=
echo "stopped in order"
