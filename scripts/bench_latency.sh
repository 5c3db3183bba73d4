#!/usr/bin/env bash
# Latency of queries from text to results, alone and while ingestion keeps the encoder busy.
# With VECTORS, a file of embeddings by the model, the collection has COUNT points more, each near one of these.
# usage: scripts/bench_latency.sh CACHE-DIRECTORY [QUERIES] [ROUNDS] [VECTORS COUNT]
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
mkdir -p "$cache"
cargo build --release --locked --workspace --bins
python3 scripts/bench_texts.py 400 "$cache/texts.txt"
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
"${CARGO_TARGET_DIR:?}/release/query-latency" "$cache/texts.txt" "$models" "${@:2}"
