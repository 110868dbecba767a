#!/usr/bin/env bash
# Runs the tests of the status page in Chromium; tests/run.sh installs what they need and builds the program.
set -euo pipefail
cd "$(dirname "$0")"

: "${MCP_EXPORTER_BIN:?is not set; run tests/run.sh}" "${MCP_EXPORTER_TEST_NODE_MODULES:?is not set; run tests/run.sh}"
chromium="${MCP_EXPORTER_TEST_CHROMIUM:-/usr/bin/chromium}"
[ -x "$chromium" ] || { echo "tests/browser/run.sh: there is no $chromium" >&2; exit 1; }
node --test --test-reporter=spec page.test.mjs
