#!/usr/bin/env bash
# Runs stock Python clients against a fresh server: that of the collection API, and OpenAI's for embeddings.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh
. scripts/venv.sh

venv="$TWOFOLD_CACHE/conformance"
make_venv "$venv" tests/requirements.txt

start_server
"$venv/bin/python" tests/conformance.py "$url"
"$venv/bin/python" tests/conformance_openai.py "$url"
