#!/usr/bin/env bash
# Search speed beside peers on three vector sets. Takes an hour, most of it the peers' builds.
# usage: scripts/bench_search.sh CACHE-DIRECTORY OUT-DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
scripts/vector_sets.sh "$1" wordnet
make_venv "$1/peers" scripts/requirements-peers.txt
cargo build --release --locked --workspace --bins
"$1/peers/bin/python" scripts/bench_search.py "${CARGO_TARGET_DIR:?}/release/search-speed" "$1" "$2" \
    wordnet-minilm-384,glove-50,fashion-mnist-784
