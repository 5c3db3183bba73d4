#!/usr/bin/env bash
# Measures how well the ways to an answer find what people judged relevant: the four Gospels and queries of Nave's Topical
# Bible. NAVE=DIRECTORY has the data, QUERIES=N how many queries are asked, RERANK=MODEL a cross-encoder other than our own.
# usage: scripts/evaluate.sh CACHE-DIRECTORY OUT-DIRECTORY
set -euo pipefail
cache=$1 out=$2
cd "$(dirname "$0")/.."
. scripts/venv.sh
. scripts/server.sh

nave=${NAVE:-../shared/data/nave}
if ! [ -f "$nave/corpus_kjv.jsonl" ]; then
    echo "skipped: there are no judgements at $nave; NAVE=DIRECTORY names another place"
    exit 0
fi
mkdir -p "$cache" "$out"
venv="$cache/venv"
make_venv "$venv" scripts/requirements-evaluate.txt
python3 scripts/nave_subset.py "$nave" "$cache/data" "${QUERIES:-500}"
mean_length=$("$venv/bin/python" scripts/bm25_peer.py "$cache/data" --mean-length)

minilm=sentence-transformers/all-MiniLM-L6-v2
mpnet=sentence-transformers/all-mpnet-base-v2
colbert=twofold/nave-colbert
cross_encoder=twofold/nave-cross-encoder
models=${TWOFOLD_MODELS_DIR:-${TWOFOLD_CACHE:?}/models}
encoders=(--encoder "minilm=$minilm" --encoder "bm25={\"model\": \"Qdrant/bm25\", \"options\": {\"avg_len\": $mean_length}}")
stages=(--stage bm25 --stage minilm)
if [ -d "$models/$mpnet" ]; then
    encoders+=(--encoder "mpnet=$mpnet")
    stages+=(--stage mpnet --stage bm25,mpnet)
fi
if [ -z "${RERANK:-}" ] && [ -d "$models/$cross_encoder" ]; then
    RERANK=$cross_encoder
fi
rerank=(${RERANK:+--rerank "$RERANK"})
if [ -d "$models/$colbert" ]; then
    encoders+=(--encoder "colbert=$colbert")
    stages+=(--stage colbert)
    rerank+=(--rerank-using colbert)
fi
# What is last is reranked.
stages+=(--stage bm25,minilm)

start_server
"$TWOFOLD" evaluate nave --corpus "$cache/data/corpus.jsonl" --queries "$cache/data/queries.jsonl" --qrels "$cache/data/qrels.tsv" \
    "${encoders[@]}" "${stages[@]}" ${rerank[@]+"${rerank[@]}"} --rrf-k "${RRF_K:-60}" \
    --json "$out/nave.json" --plot "$out/nave.svg" --runs "$cache/runs"
echo
"$venv/bin/python" scripts/bm25_peer.py "$cache/data" "$cache/runs"
