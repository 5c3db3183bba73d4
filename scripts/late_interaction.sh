#!/usr/bin/env bash
# What searches in multivectors find and cost: the verses of the King James Version, a vector for each word by its direction, or by the
# ColBERT model MODEL=NAME a vector for each token. NAVE=DIRECTORY has the verses and queries, QUERIES=N is how many are asked.
# usage: scripts/late_interaction.sh CACHE-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
nave=${NAVE:-../shared/data/nave}
if ! [ -f "$nave/corpus_kjv.jsonl" ]; then
    echo "skipped: there are no verses at $nave; NAVE=DIRECTORY names another place"
    exit 0
fi
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
cache=$cache/${MODEL:-words}
mkdir -p "$cache"
cargo build --release --locked --workspace --bins
"${CARGO_TARGET_DIR:?}/release/late-interaction" "$nave" "$cache" "${QUERIES:-200}" ${MODEL:+"$models/$MODEL"}
