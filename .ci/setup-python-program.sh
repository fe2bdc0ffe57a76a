#!/bin/sh
# Makes sure that a program from PyPI of this name and version is installed under .venv, and prints the path of it.
# Safe to run several times at once: one installs, the others wait. Exit 3: this machine has no python3 with venv.
set -eu
name=$1
version=$2
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv/$name-$version
program=$venv/bin/$name

mkdir -p "$root/.venv"
exec 9>"$root/.venv/$name.lock"
flock 9
# Written last, so that a set-up that was cut off is made anew.
if [ ! -e "$venv/ready" ]; then
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    echo 'python3 -m venv does not work here: install python3-venv (Debian, Ubuntu)' >&2
    exit 3
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$name==$version" >&2
  touch "$venv/ready"
fi
echo "$program"
