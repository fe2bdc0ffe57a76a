#!/bin/sh
# MiniStack, an emulator of AWS; see setup-python-program.sh.
exec "$(dirname "$0")/setup-python-program.sh" ministack 1.5.33
