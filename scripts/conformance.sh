#!/usr/bin/env bash
# Runs tests/conformance.py, which uses the stock Python client of the collection API, against a fresh server.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh
. scripts/venv.sh

venv="$TWOFOLD_CACHE/conformance"
make_venv "$venv" tests/requirements.txt

start_server
"$venv/bin/python" tests/conformance.py "$url"
