#!/usr/bin/env bash
# Fuzzes every parser of untrusted input: fuzz/run.sh [SECONDS for each target, 60]
# Needs a nightly compiler and cargo-fuzz (cargo install cargo-fuzz).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in chat_request grpc_request headers config_file; do
  echo "== $target for $seconds s"
  # New inputs go to a temporary folder; add seeds by hand.
  mkdir "$found/$target"
  if ! cargo +nightly fuzz run "$target" "$found/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 >"$found/log" 2>&1; then
    tail -n 40 "$found/log"
    exit 1
  fi
  grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$found/log"
done
