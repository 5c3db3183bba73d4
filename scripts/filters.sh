#!/usr/bin/env bash
# What filters cost on 1,000,000 points with six payload indexes, and how long a start takes with them.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
"${CARGO_TARGET_DIR:?}/release/filter-speed" "$data"
