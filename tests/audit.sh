#!/usr/bin/env bash
# Audits the dependencies, offline: licences, bans and sources by deny.toml, and with a clone of a RustSec advisory
# database its advisories.
#   tests/audit.sh                  licences, bans, sources
#   tests/audit.sh DATABASE_FOLDER  advisories too
# Needs cargo-deny (cargo install cargo-deny).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo deny --offline --locked check bans licenses sources
if [ -n "${1:-}" ]; then
  database=$(realpath "$1")
  config=$(mktemp)
  trap 'rm -f "$config"' EXIT
  sed "s|^\[advisories\]|[advisories]\ndb-path = \"$(dirname "$database")\"\ndb-urls = [\"file://$database\"]|" deny.toml >"$config"
  cargo deny --offline --locked check --config "$config" --disable-fetch advisories
fi
