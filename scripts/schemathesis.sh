#!/usr/bin/env bash
# Sends a fresh server requests made from its OpenAPI document, valid and not, so many an operation: every answer is one that the
# document has, none is a server's error, and nothing panics.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh
. scripts/venv.sh
examples=${1:-100}

venv="$TWOFOLD_CACHE/schemathesis"
make_venv "$venv" tests/requirements-schemathesis.txt

start_server
"$venv/bin/python" tests/schemathesis_collection.py "$url"

# It leaves files where it runs.
root=$PWD
cd "$data"
run() {
    "$venv/bin/schemathesis" "$@" --max-examples "$examples" --continue-on-failure --request-timeout 60 --warnings off \
        --generation-database none \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
}
# In a collection that is there and stays, so that requests come to what they ask for.
run --config-file "$root/tests/schemathesis.toml" run "$url/openapi.json" --exclude-operation-id delete_collection
# And collections themselves, by any name.
run run "$url/openapi.json" --include-tag collections --include-tag aliases

kill -0 "$server" || { echo "error: the server is gone" >&2; exit 1; }
if grep -i panicked "$data/log"; then
    echo "error: the server panicked" >&2
    exit 1
fi
