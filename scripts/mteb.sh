#!/usr/bin/env bash
# Runs mteb against a fresh server's embeddings: the four Gospels and queries of Nave's Topical Bible, as in `make evaluate`, and
# compares with `twofold evaluate`. NAVE=DIRECTORY has the data, QUERIES=N how many queries are asked, MODEL=NAME the model.
# usage: scripts/mteb.sh CACHE-DIRECTORY
set -euo pipefail
cache=$1
cd "$(dirname "$0")/.."
. scripts/venv.sh
. scripts/server.sh

nave=${NAVE:-../shared/data/nave}
if ! [ -f "$nave/corpus_kjv.jsonl" ]; then
    echo "skipped: there are no judgements at $nave; NAVE=DIRECTORY names another place"
    exit 0
fi
model=${MODEL:-sentence-transformers/all-MiniLM-L6-v2}
venv="$TWOFOLD_CACHE/mteb"
make_venv "$venv" scripts/requirements-mteb.txt
mkdir -p "$cache"
python3 scripts/nave_subset.py "$nave" "$cache/data" "${QUERIES:-200}"

start_server
"$TWOFOLD" evaluate nave --corpus "$cache/data/corpus.jsonl" --queries "$cache/data/queries.jsonl" --qrels "$cache/data/qrels.tsv" \
    --encoder "model=$model" --stage model --json "$cache/report.json"
# Nothing is to be had from a hub, and nothing is needed from there.
HF_HUB_OFFLINE=1 "$venv/bin/python" scripts/mteb_nave.py "$url" "$model" "$cache/data" "$cache/report.json" model
