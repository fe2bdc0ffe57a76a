#!/bin/sh
# Makes sure that MiniStack (an emulator of AWS) is installed under .venv and prints the path of its program.
# Safe to run several times at once: one installs, the others wait. Exit 3: this machine has no python3 with venv.
set -eu
version=1.5.33
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv/ministack-$version
program=$venv/bin/ministack

mkdir -p "$root/.venv"
exec 9>"$root/.venv/ministack.lock"
flock 9
# Written last, so that a set-up that was cut off is made anew.
if [ ! -e "$venv/ready" ]; then
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    echo 'python3 -m venv does not work here: install python3-venv (Debian, Ubuntu)' >&2
    exit 3
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check "ministack==$version" >&2
  touch "$venv/ready"
fi
echo "$program"
