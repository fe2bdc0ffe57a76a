#!/bin/sh
# Makes sure that Azurite (an emulator of Azure's storage) is installed under .venv and prints the path of its program for
# blobs. Not a dependency in package.json: its tree is larger than ours (370 packages, 190 MB) and only one test needs it.
# Safe to run several times at once: one installs, the others wait.
set -eu
version=3.35.0
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/.venv/azurite-$version

mkdir -p "$root/.venv"
exec 9>"$root/.venv/azurite.lock"
flock 9
# Written last, so that a set-up that was cut off is made anew.
if [ ! -e "$folder/ready" ]; then
  rm -rf "$folder"
  mkdir "$folder"
  # Of its own, or npm would install into the project around it.
  echo '{"private":true}' > "$folder/package.json"
  npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --no-package-lock "azurite@$version" >&2
  touch "$folder/ready"
fi
echo "$folder/node_modules/azurite/dist/src/blob/main.js"
