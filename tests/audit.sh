#!/usr/bin/env bash
# Audits the dependencies offline: licences, bans and sources by deny.toml, and advisories from a given folder.
#   tests/audit.sh              licences, bans, sources
#   tests/audit.sh ADVISORIES   advisories too; ADVISORIES is a copy of the RustSec advisory database, or a clone
# Needs cargo-deny (cargo install cargo-deny --version 0.20.2 --locked) and the sources (cargo fetch --locked).
set -euo pipefail
advisories=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
if [ -n "$advisories" ] && [ ! -d "$advisories/crates" ]; then
  echo "$advisories contains no advisories: the folder crates is missing" >&2
  exit 2
fi
deny() { cargo deny --offline --locked "$@"; }

deny check --hide-inclusion-graph bans licenses sources
[ -n "$advisories" ] || exit 0

databases=$(mktemp -d)
trap 'rm -rf "$databases"' EXIT
# The folder where cargo-deny keeps its clone of the public database. Offline, it accepts no other folder.
clone=$databases/db/advisory-db-3157b0e258782691
mkdir "$databases/db"
cp -r "$advisories" "$clone"
if [ ! -e "$clone/.git" ]; then
  git -C "$clone" init -q
  git -C "$clone" add .
  git -C "$clone" -c user.name=audit -c user.email=audit@localhost commit -qm "A copy"
fi
sed "s|^\[advisories\]|&\ndb-path = \"$databases/db\"|" deny.toml >"$databases/deny.toml"
deny --config "$databases/deny.toml" check --hide-inclusion-graph advisories
