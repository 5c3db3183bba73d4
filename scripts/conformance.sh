#!/usr/bin/env bash
# Runs stock Python clients against a fresh server: that of the collection API, and OpenAI's for embeddings.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh
. scripts/venv.sh

venv="$TWOFOLD_CACHE/conformance"
make_venv "$venv" tests/requirements.txt

start_server
if [ "${1:-}" = --differential ]; then
    "$venv/bin/python" tests/differential.py "$url" --seed "$RANDOM" --seconds "$2"
else
    "$venv/bin/python" tests/conformance.py "$url"
    "$venv/bin/python" tests/conformance_openai.py "$url"
    "$venv/bin/python" tests/conformance_upload.py "$TWOFOLD"
    "$venv/bin/python" tests/differential.py "$url" --seed 1 --seeds 3
fi
