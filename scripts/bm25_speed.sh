#!/usr/bin/env bash
# How long searches by BM25 over the glosses of WordNet take.
# usage: scripts/bm25_speed.sh CACHE-DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/glosses.sh "$1/glosses.txt"
cargo build --release --locked --workspace --bins
"${CARGO_TARGET_DIR:?}/release/bm25-speed" "$1/glosses.txt"
