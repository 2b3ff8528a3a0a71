#!/usr/bin/env bash
# Holds /openapi.json against the specification, and a running node against /openapi.json. Installs
# what it needs into a virtual environment below the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"
loyal="$(realpath "${LOYAL:-$target/debug/loyal}")"
mkdir -p "$target"
tools="$(realpath "$target")/openapi-tools"
port="$(python3 -c "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])")"
dir="$(mktemp -d)"
node=""
cleanup() {
    [ -z "$node" ] || { kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap cleanup EXIT

wanted="openapi-spec-validator==0.9.0 schemathesis==4.32.5"
if [ "$(cat "$tools/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    # shellcheck disable=SC2086  # two packages
    "$tools/bin/pip" install --quiet --disable-pip-version-check $wanted
    echo "$wanted" > "$tools/installed"
fi

# One node that impairs nothing but could: the lab's routes are described as well.
"$loyal" network new --nodes 1 --dir "$dir" > "$dir/made"
echo secret > "$dir/token"
"$loyal" node --network "$dir/network.toml" --key "$dir/n0.pem" --data "$dir/data" \
    --api "127.0.0.1:$port" --lab-token-file "$dir/token" < /dev/null > "$dir/log" 2>&1 &
node=$!
url="http://127.0.0.1:$port"
for _ in $(seq 100); do
    curl -sf "$url/readyz" > "$dir/ready" && break
    sleep 0.1
done
curl -sf "$url/openapi.json" -o "$dir/openapi.json" || { cat "$dir/log" >&2; exit 1; }
"$tools/bin/openapi-spec-validator" "$dir/openapi.json"

# An empty POST is an empty message, and no method but those described is taken.
says() {
    local code
    code="$(curl -s -o "$dir/answer" -w '%{http_code}' "${@:2}")"
    [ "$code" = "$1" ] || { echo "$code instead of $1: ${*:2}: $(cat "$dir/answer")" >&2; return 1; }
}
says 201 -X POST "$url/v1/messages"
says 201 -X POST -H 'Content-Type: application/octet-stream' "$url/v1/messages"
says 400 -X POST -H 'Content-Type: application/json' "$url/v1/messages"
says 415 -X POST "$url/v1/messages/signed"
for path in /v1/messages /v1/messages/signed /v1/status /v1/rejections /healthz /metrics; do
    says 405 -X TRACE "$url$path"
done

# What a schema cannot say (64 bytes of UTF-8, a true signature, a cursor of this store) makes some
# of what fits it bad: `positive_data_acceptance` is not for such an interface. Streams do not end.
# It leaves notes of its own where it runs.
cd "$dir"
"$tools/bin/schemathesis" run openapi.json --url "$url" \
    --header 'Authorization: Bearer secret' --exclude-path-regex '/stream$' \
    --phases examples,coverage,fuzzing --max-examples 10 --seed 1 --workers 1 \
    --exclude-checks positive_data_acceptance,ignored_auth --request-timeout 10 \
    --suppress-health-check all --warnings off
kill -0 "$node"
