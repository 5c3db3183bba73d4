#!/usr/bin/env bash
# Latency of queries from text to results, alone and while ingestion keeps the encoder busy.
# usage: scripts/bench_latency.sh CACHE-DIRECTORY [QUERIES] [ROUNDS]
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
mkdir -p "$cache"
cargo build --release --locked --workspace --bins
python3 scripts/bench_texts.py 400 "$cache/texts.txt"
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
"${CARGO_TARGET_DIR:?}/release/query-latency" "$cache/texts.txt" "$models" "${@:2}"
