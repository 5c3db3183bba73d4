#!/usr/bin/env bash
# Runs the stores of LangChain, LlamaIndex and Haystack, and the stock JavaScript client, against a fresh server. Nothing of them is
# changed but the URL.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh
. scripts/venv.sh

venv="$TWOFOLD_CACHE/frameworks"
make_venv "$venv" tests/requirements-frameworks.txt
modules="$TWOFOLD_CACHE/conformance-js"
scripts/setup.sh node
mkdir -p "$modules"
cp tests/js/package.json tests/js/package-lock.json tests/js/.npmrc tests/js/conformance.mjs "$modules"
if ! cmp -s tests/js/package-lock.json "$modules/installed"; then
    npm --prefix "$modules" ci --silent
    cp tests/js/package-lock.json "$modules/installed"
fi

start_server
export HAYSTACK_TELEMETRY_ENABLED=False
for store in langchain llama_index haystack; do
    echo "$store: $("$venv/bin/python" "tests/frameworks/${store}_store.py" "$url")"
done
echo "JavaScript: $(node "$modules/conformance.mjs" "$url")"
