#!/usr/bin/env bash
# What collections cost as they grow: loading, memory, disk, opening, searches alone and beside writes. Takes an hour, most of it
# for the largest. SIZES="100000 384,1000000 384" takes others.
# usage: scripts/scale.sh CACHE-DIRECTORY OUT-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
out=$2
. scripts/venv.sh
mkdir -p "$cache" "$out"
make_venv "$cache/peers" scripts/requirements-peers.txt
cargo build --release --locked --workspace --bins
bin="${CARGO_TARGET_DIR:?}/release/search-scale"
default="10000 384,100000 384,1000000 384,10000 128,100000 128,1000000 128,5000000 128"
: >"$cache/scale.jsonl"
while read -r size; do
    # shellcheck disable=SC2086
    "$bin" $size | tee -a "$cache/scale.jsonl"
done < <(tr ',' '\n' <<<"${SIZES:-$default}")
"$cache/peers/bin/python" scripts/scale_plot.py "$cache/scale.jsonl" "$out/scale.svg"
