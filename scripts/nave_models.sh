#!/usr/bin/env bash
# Trains a model of our own on a part of the Nave judgements, and puts it in the models directory: twofold/nave-colbert, or
# twofold/nave-cross-encoder, which learns from the former. NAVE=DIRECTORY has the data, THREADS=N is how many threads train.
# usage: scripts/nave_models.sh colbert|cross-encoder
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

nave=${NAVE:-../shared/data/nave}
if ! [ -f "$nave/corpus_kjv.jsonl" ]; then
    echo "skipped: there are no judgements at $nave; NAVE=DIRECTORY names another place"
    exit 0
fi
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
# The environment of `make bench-encode` has all that it takes.
venv="$TWOFOLD_CACHE/bench-encode/venv"
mkdir -p "$TWOFOLD_CACHE/bench-encode"
make_venv "$venv" scripts/requirements-bench-encode.txt
train() {
    OMP_NUM_THREADS=${THREADS:-1} HF_HUB_OFFLINE=1 nice -n 19 "$venv/bin/python" scripts/nave_models.py "$1" "$nave" "$models"
}
if [ "$1" = cross-encoder ] && ! [ -d "$models/twofold/nave-colbert" ]; then
    train colbert
fi
train "$1"
