#!/usr/bin/env bash
# Fetches the 117,659 glosses of WordNet into a file, one a line, once.
# usage: scripts/glosses.sh FILE
set -euo pipefail
[ -f "$1" ] && exit 0
mkdir -p "$(dirname "$1")"
file=$(realpath "$1")
cd "$(dirname "$0")/.."
command -v dpkg-deb >/dev/null || {
    echo "glosses: WordNet comes as a Debian package; run this on Debian or Ubuntu" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(
    cd "$work"
    apt-get download wordnet-base
    dpkg-deb -x wordnet-base_*.deb wordnet
)
python3 scripts/recall_data.py glosses "$work/wordnet/usr/share/wordnet" "$work/glosses.txt"
mv "$work/glosses.txt" "$file"
