#!/usr/bin/env bash
# Holds the API to its own description: schemathesis asks the demo what openapi.json allows, and what it does not. The
# examples are the same in each run, and nothing depends on how long an answer takes.
set -euo pipefail
cd "$(dirname "$0")"

: "${MCP_EXPORTER_BIN:?is not set; run tests/run.sh}" "${MCP_EXPORTER_TEST_SCHEMATHESIS:?is not set; run tests/run.sh}"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
address="http://127.0.0.1:$port"
folder=$(mktemp -d)
env -i PATH="$PATH" "$MCP_EXPORTER_BIN" demo --web.listen-address "127.0.0.1:$port" >"$folder/output" 2>&1 &
demo=$!
trap 'kill "$demo" 2>/dev/null; wait "$demo" 2>/dev/null || true; rm -rf "$folder"' EXIT

ready() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$address/-/ready" 2>/dev/null; }
for _ in $(seq 600); do
    ready && break
    kill -0 "$demo" 2>/dev/null || { cat "$folder/output" >&2; exit 1; }
    sleep 0.1
done
ready || { echo "tests/api/run.sh: the demo is not ready" >&2; exit 1; }

# Its files, such as the examples that failed, stay out of the repository.
cd "$folder"
"$MCP_EXPORTER_TEST_SCHEMATHESIS" run "$address/api/v1/openapi.json" --url "$address/api/v1" --checks all \
    --generation-deterministic --max-examples 50 --suppress-health-check all --request-timeout 60 --no-color
