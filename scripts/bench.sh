#!/usr/bin/env bash
# Speed of the encoder beside sentence-transformers (torch, same weights, same texts), and of ingestion beside the bare
# encoder. Runs alternate, so that a noisy machine is unfair to both alike.
# usage: scripts/bench.sh CACHE-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
. scripts/venv.sh
mkdir -p "$cache"

venv="$cache/venv"
make_venv "$venv" scripts/requirements-reference.txt

cargo build --release --locked --workspace --bins --examples
bin="${CARGO_TARGET_DIR:?}/release"
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
model="$models/sentence-transformers/all-MiniLM-L6-v2"
texts="$cache/texts.txt"
python3 scripts/bench_texts.py 400 "$texts"

for threads in 1 2; do
    for round in 1 2 3; do
        echo "encoder, $threads thread(s), round $round"
        printf '  twofold                ' && "$bin/examples/throughput" "$texts" --model "$model" --device cpu --lanes "$threads"
        printf '  sentence-transformers  ' && "$venv/bin/python" scripts/reference_throughput.py "$texts" --model "$model" --threads "$threads"
    done
done
echo "ingestion"
"$bin/ingest-throughput" "$texts" "$models" 5
