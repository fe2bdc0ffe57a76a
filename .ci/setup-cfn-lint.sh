#!/bin/sh
# Makes sure that cfn-lint (which knows what CloudFormation refuses) is installed under .venv and prints the path of its program.
# Safe to run several times at once: one installs, the others wait. Exit 3: this machine has no python3 with venv.
set -eu
version=1.58.0
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv/cfn-lint-$version
program=$venv/bin/cfn-lint

mkdir -p "$root/.venv"
exec 9>"$root/.venv/cfn-lint.lock"
flock 9
# Written last, so that a set-up that was cut off is made anew.
if [ ! -e "$venv/ready" ]; then
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >&2; then
    echo 'python3 -m venv does not work here: install python3-venv (Debian, Ubuntu)' >&2
    exit 3
  fi
  "$venv/bin/pip" install --quiet --disable-pip-version-check "cfn-lint==$version" >&2
  touch "$venv/ready"
fi
echo "$program"
