#!/usr/bin/env bash
# Ends servers at every fail point and at random moments while several clients write, and checks what is left.
# TWOFOLD_CRASH_ROUNDS (default 10) rounds of all fail points and ten random moments, of documents and while they are re-embedded.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
exec "$cargo" --config .config/test-profile.toml test --release --workspace --locked --test suite \
    -- --ignored --nocapture many_crashes
