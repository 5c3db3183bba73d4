#!/usr/bin/env bash
# Starts a server, ingests the documentation and asks three questions. CORPUS=PATH takes other texts, and QUESTIONS other
# questions, one a line.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/server.sh

if [ -n "${CORPUS:-}" ]; then
    corpus=("$CORPUS")
else
    corpus=(docs README.md)
fi
default_questions="What happens to documents when the server crashes?
How do I filter a search?
Can I use a GPU?"
questions=${QUESTIONS:-$default_questions}

start_server
echo "The server listens on $url."
echo
echo "Ingesting ${corpus[*]}"
"$TWOFOLD" ingest "${corpus[@]}" --collection demo

while IFS= read -r question; do
    [ -n "$question" ] || continue
    echo
    echo "Q: $question"
    echo
    "$TWOFOLD" search "$question" --collection demo --limit 3 </dev/null
done <<<"$questions"

cat <<END

That server is gone now. To keep one running, in one terminal:

  $TWOFOLD serve --data-dir twofold-data

and in another:

  $TWOFOLD ingest ${corpus[*]} --collection demo
  $TWOFOLD search "${questions%%$'\n'*}" --collection demo
END
