#!/usr/bin/env bash
# Runs the official OpenAI SDKs and Python's grpcio against a built server: run.sh [BINARY]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BINARY=$(realpath "${1:-$here/../../target/debug/tokenecho}")
[[ -x $BINARY ]] || { echo "run.sh: no server binary at $BINARY; build it, or pass another path" >&2; exit 2; }
export BINARY

source "$here/../install.sh"
cd "$here/python"
install_python_packages
cd "$here/node"
install_node_packages
# The lock file installs Node on Linux; elsewhere use the machine's own.
node=node_modules/.bin/node
[[ -x $node ]] || node=node

failed=0
(cd "$here/python" && .venv/bin/python -m pytest) || failed=1
(cd "$here/node" && "$node" --test --test-timeout=60000 --test-reporter=dot) || failed=1
exit "$failed"
