#!/usr/bin/env bash
# What collections cost as they grow: loading, memory, disk, opening, searches alone and beside writes.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --workspace --bins
bin="${CARGO_TARGET_DIR:?}/release/search-scale"
for size in "10000 384" "100000 384" "1000000 384" "5000000 128"; do
    # shellcheck disable=SC2086
    "$bin" $size
done
