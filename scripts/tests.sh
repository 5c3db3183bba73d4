#!/usr/bin/env bash
# Runs the unit and integration tests, each test in a process of its own: they kill servers and inject faults.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
test=("$cargo" --config .config/test-profile.toml)
if ! "$cargo" nextest --version >/dev/null 2>&1; then
    echo "installing cargo-nextest"
    "$cargo" install --quiet --locked cargo-nextest || {
        echo "cargo-nextest cannot be installed; running the tests one after the other with cargo test"
        exec "${test[@]}" test --release --workspace --locked --lib --bins --tests -- --test-threads=1
    }
fi
# nextest does not hand on what stands before its own name.
exec "$cargo" nextest run --config .config/test-profile.toml --release --workspace --locked
