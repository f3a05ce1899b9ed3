#!/usr/bin/env bash
# Lints the gRPC contract and compares it with the last release's.
#   tests/proto/run.sh            check
#   tests/proto/run.sh release    keep today's contract as the released one
set -euo pipefail
cd "$(dirname "$0")"
source ../install.sh
install_node_packages
# The one package that is for this machine's processor.
buf=$(echo "$PWD"/node_modules/@bufbuild/buf-linux-*/bin/buf)
released="$PWD/released.binpb"
cd ../../proto
if [ "${1:-}" = release ]; then
  exec "$buf" build -o "$released" --exclude-source-info
fi
"$buf" lint
"$buf" format --diff --exit-code
"$buf" breaking --against "$released"
echo "the gRPC contract is well-formed and breaks nothing"
