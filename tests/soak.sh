#!/usr/bin/env bash
# A soak test: mixed load, clients that disconnect, resets and key rotation, on both protocols at once.
#   tests/soak.sh [MINUTES, 3] [BINARY, target/release/tokenecho]
# Prints resident memory, descriptors and open streams before and after; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-3}
binary=$(realpath "${2:-target/release/tokenecho}")
# tests/sdk/run.sh creates the clients' environment.
python=tests/sdk/python/.venv/bin/python
[ -x "$python" ] || { echo "run tests/sdk/run.sh first: it installs the clients" >&2; exit 2; }
exec "$python" tests/soak.py "$binary" "$minutes"
