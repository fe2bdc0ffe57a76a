#!/bin/sh
# cfn-lint, which knows what CloudFormation refuses; see setup-python-program.sh.
exec "$(dirname "$0")/setup-python-program.sh" cfn-lint 1.58.0
