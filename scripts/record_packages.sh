#!/usr/bin/env bash
# Records which Debian packages the libraries under a folder come from, for scanners of images (as
# var/lib/dpkg/status.d/PACKAGE, the layout of distroless images) and with their copyright files.
#
# usage: record_packages.sh ROOT DOC     ROOT: what is shipped; DOC: folder in it for the copyright files
set -euo pipefail
[ $# -eq 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
root=$1
doc=$2
status=$root/var/lib/dpkg/status.d
mkdir -p "$status" "$doc"

# Names of installed packages that own the libraries found under ROOT.
owners() {
  local library
  find "$root" -name '*.so*' -printf '%f\n' | sort -u | while read -r library; do
    dpkg-query --search "*/$library" 2>/dev/null | head -n 1 | cut -d: -f1
  done | sort -u
}

owners | while read -r package; do
  dpkg-query --status "$package" >"$status/$package"
  cp "/usr/share/doc/$package/copyright" "$doc/$package.copyright"
done
echo "packages recorded: $(find "$status" -type f | wc -l)"
