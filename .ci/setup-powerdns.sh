#!/bin/sh
# Makes sure that PowerDNS with its LMDB backend is installed, as Debian SUITE has it, in a root of its own (to be
# entered by chroot; this machine's packages stay as they are), and prints the path of that root. It is kept in the
# user's cache folder, so only the first run takes its half minute. Safe to run several times at once.
# Exit 3: not possible here, and why (not root, not Debian, no debootstrap).
set -eu
suite=$1
packages=pdns-server,pdns-backend-lmdb,pdns-tools,lmdb-utils

skip() {
  echo "$1" >&2
  exit 3
}
[ "$(id -u)" = 0 ] || skip 'chroot needs root'
[ "$(. /etc/os-release && echo "$ID")" = debian ] || skip 'this is not Debian'
command -v debootstrap >/dev/null || skip 'debootstrap is not installed'

cache=${XDG_CACHE_HOME:-$HOME/.cache}/lightningstream
root=$cache/powerdns-$suite
mkdir -p "$cache"
exec 9>"$root.lock"
flock 9
if [ ! -d "$root" ]; then
  # Whatever this machine's apt uses: its mirrors of Debian, in their order, and its proxy.
  mirrors=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$3 == "main" && $2 !~ /[-\/]/ && !seen[$1]++ { print $1 }')
  eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
  [ -z "${http_proxy:-}" ] || export http_proxy
  [ -z "${https_proxy:-}" ] || export https_proxy
  made=
  for mirror in $mirrors; do
    rm -rf "$root.new"
    if debootstrap --variant=minbase --include="$packages" "$suite" "$root.new" "$mirror" >"$root.log" 2>&1; then
      made=yes
      break
    fi
  done
  if [ -z "$made" ]; then
    tail -n 20 "$root.log" >&2
    echo "cannot install PowerDNS of $suite from: $mirrors" >&2
    exit 1
  fi
  rm -rf "$root.new"/var/cache/apt/archives/*.deb "$root.new"/var/lib/apt/lists/*
  # Last, so that one that was cut off is made anew.
  mv "$root.new" "$root"
fi
echo "$root"
