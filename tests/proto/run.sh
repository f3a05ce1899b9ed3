#!/usr/bin/env bash
# Lints the gRPC contract and compares it with that of the last release.
#   tests/proto/run.sh            check
#   tests/proto/run.sh release    store the current contract as the released one
set -euo pipefail
cd "$(dirname "$0")"
source ../install.sh
install_node_packages
# npm installs only the package for this machine's processor.
buf=$(echo "$PWD"/node_modules/@bufbuild/buf-linux-*/bin/buf)
released="$PWD/released.binpb"
cd ../../proto
if [ "${1:-}" = release ]; then
  exec "$buf" build -o "$released" --exclude-source-info
fi
"$buf" lint
"$buf" format --diff --exit-code
"$buf" breaking --against "$released"
echo "the gRPC contract is well-formed and has no breaking changes"
