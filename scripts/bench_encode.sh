#!/usr/bin/env bash
# Speed of the encoder on one thread beside onnxruntime and torch, in rounds that alternate between them.
# usage: scripts/bench_encode.sh CACHE-DIRECTORY [ROUNDS]
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
. scripts/venv.sh
mkdir -p "$cache"
make_venv "$cache/venv" scripts/requirements-bench-encode.txt
cargo build --release --locked -p twofold-encode --examples
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
"$cache/venv/bin/python" scripts/bench_encode.py "${CARGO_TARGET_DIR:?}/release/examples" \
    "$models/sentence-transformers/all-MiniLM-L6-v2" "$cache" "${2:-5}"
