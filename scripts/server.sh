# Sourced: a server on loopback with data of its own, which are removed when the script ends.

# Starts the server and sets `url`. Its port is one the system picked, told by its first log line.
start_server() {
    data=$(mktemp -d "${TMPDIR:-/tmp}/twofold.XXXXXX")
    trap stop_server EXIT
    trap 'exit 130' INT TERM
    : >"$data/log"
    RUST_LOG=info "$TWOFOLD" serve --listen 127.0.0.1:0 --data-dir "$data/data" 2>"$data/log" &
    server=$!
    local tries=0
    until address=$(sed -n 's/.*serving .*address=\([0-9.:]*\).*/\1/p' "$data/log" | head -n 1) &&
        [ -n "$address" ] && is_ready; do
        tries=$((tries + 1))
        if ! kill -0 "$server" 2>/dev/null || [ "$tries" -gt 600 ]; then
            echo "error: the server did not start" >&2
            cat "$data/log" >&2
            exit 1
        fi
        sleep 0.1
    done
    url="http://$address"
    export TWOFOLD_URL="$url"
}

is_ready() {
    (
        exec 3<>"/dev/tcp/${address%:*}/${address##*:}" || exit 1
        printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
        head -n 1 <&3 | grep -q ' 200'
    ) 2>/dev/null
}

stop_server() {
    if [ -n "${server:-}" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$data"
}
