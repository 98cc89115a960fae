#!/usr/bin/env bash
# `docker` for machines without an engine, as far as the README calls it: build (nothing to do), run -d,
# exec and stop of one container, on an image's root that scripts/verify_image.sh has built. Needs root.
# Ports are those of the network that this runs in.
#
# usage: docker_on_rootfs.sh build|run|exec|stop ARGUMENT...     $ROOTFS: the root; $STATE: a folder
set -euo pipefail
mkdir -p "$ROOTFS/proc"
verb=$1
shift

# in_rootfs MOUNTS COMMAND...: with the root read-only, as its user, without capabilities. MOUNTS: lines of
# SOURCE:TARGET:ro.
in_rootfs() {
  # shellcheck disable=SC2016  # the inner shell expands these
  exec unshare --mount --propagation private bash -euc '
    root=$1; mounts=$2; shift 2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    while IFS=: read -r source target _; do
      if [ -n "$source" ]; then mount --bind -o ro "$source" "$root$target"; fi
    done <<<"$mounts"
    mount -o remount,bind,ro "$root"
    exec setpriv --no-new-privs chroot --userspec=10001:10001 "$root" "$@"' \
    - "$ROOTFS" "$@"
}

case $verb in
  build) ;;
  run)
    mounts=
    while [ "${1#-}" != "$1" ]; do
      case $1 in
        -v) mounts+=$2$'\n'; shift 2 ;;
        -p | --name | --cap-drop) shift 2 ;;
        *) shift ;;
      esac
    done
    shift # the image
    (in_rootfs "$mounts" /usr/bin/kvpareto-server --config=/etc/kvpareto/server.yaml "$@") \
      >"$STATE/log" 2>&1 </dev/null &
    echo $! >"$STATE/pid"
    ;;
  exec)
    shift # the name
    program=$1
    shift
    in_rootfs "" "/usr/bin/$program" "$@"
    ;;
  stop)
    pid=$(cat "$STATE/pid")
    kill -TERM "$pid"
    # At most a minute; the container is no child of this shell.
    for _ in $(seq 240); do
      kill -0 "$pid" 2>/dev/null || exit 0
      sleep 0.25
    done
    exit 1
    ;;
  *)
    echo "not emulated: docker $verb" >&2
    exit 64
    ;;
esac
