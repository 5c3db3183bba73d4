#!/usr/bin/env bash
# How long a start takes with 2,000 small collections, and the memory of each.
# usage: scripts/many_collections.sh [COUNT [POINTS]]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
# Made, then opened after a crash as it were, from RocksDB's log, then from its files.
for _ in 1 2 3; do
  "${CARGO_TARGET_DIR:?}/release/many-collections" "$data/store" "$@"
done
