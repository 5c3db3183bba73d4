#!/usr/bin/env bash
# Runs tests/conformance.py, which uses the stock Python client of the collection API, against a fresh server.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh

venv="$TWOFOLD_CACHE/conformance"
requirements=tests/requirements.txt
# The venv carries a copy of what was installed into it, so that it is made anew when that changes.
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    scripts/setup.sh python
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --requirement "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi

start_server
"$venv/bin/python" tests/conformance.py "$url"
