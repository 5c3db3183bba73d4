#!/usr/bin/env bash
# Recall of the default settings on two public vector sets.
# usage: scripts/recall.sh CACHE-DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/vector_sets.sh "$1"
cargo run --release --locked --package twofold-tests --bin recall -- "$1"
