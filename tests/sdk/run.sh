#!/usr/bin/env bash
# Runs the official OpenAI SDKs and Python's grpcio against a built server: run.sh [BINARY]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BINARY=$(realpath "${1:-$here/../../target/debug/tokenecho}")
[[ -x $BINARY ]] || { echo "run.sh: there is no server at $BINARY; build it, or name another" >&2; exit 2; }
export BINARY

# What is installed keeps a copy of its lock file, so that only a changed one installs again.
cd "$here/python"
if ! cmp --silent requirements.txt .venv/requirements.txt; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    cp requirements.txt .venv/
fi

cd "$here/node"
if ! cmp --silent package-lock.json node_modules/package-lock.json; then
    npm ci --loglevel=error >/dev/null
    cp package-lock.json node_modules/
fi
# The lock brings a Node for Linux; elsewhere the machine's own has to do.
node=node_modules/.bin/node
[[ -x $node ]] || node=node

failed=0
(cd "$here/python" && .venv/bin/python -m pytest) || failed=1
(cd "$here/node" && "$node" --test --test-timeout=60000 --test-reporter=dot) || failed=1
exit "$failed"
