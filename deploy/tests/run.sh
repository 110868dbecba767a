#!/usr/bin/env bash
# Runs everything in deploy/ through the programs that read it: kubectl, promtool, systemd-analyze, Datadog's check, linters.
# Needs kubectl, promtool, systemd-analyze, Python 3, Node and a built mcp-exporter (target/debug, or MCP_EXPORTER=FILE).
#   deploy/tests/run.sh [unittest's arguments, such as -k Systemd]
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=0
for tool in cargo kubectl promtool systemd-analyze python3 npm; do
  command -v "$tool" >/dev/null || { echo "FAILED: $tool is not installed" >&2; missing=1; }
done
target=${CARGO_TARGET_DIR:-$PWD/target}
export MCP_EXPORTER=${MCP_EXPORTER:-$target/debug/mcp-exporter}
[ -x "$MCP_EXPORTER" ] || { echo "FAILED: there is no $MCP_EXPORTER: run cargo build first, or set MCP_EXPORTER" >&2; missing=1; }
# Debian 12's kubectl contains a kustomize that does not know components.
if ! kubectl kustomize --help 2>/dev/null | grep -q load-restrictor; then
  echo "FAILED: this kubectl is too old, 1.27 or later is needed" >&2
  missing=1
fi
((missing == 0)) || exit 1

# One environment for all, made again when what it consists of changes.
export TEST_ENV=$target/test-env/deploy
wanted=$(cat deploy/tests/requirements.txt deploy/tests/package-lock.json deploy/compose/demo-server/requirements.txt | sha256sum)
if [ "$(cat "$TEST_ENV/made-from" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$TEST_ENV"
  mkdir -p "$TEST_ENV"
  python3 -m venv "$TEST_ENV/venv"
  "$TEST_ENV/venv/bin/pip" install --quiet --requirement deploy/tests/requirements.txt
  # The demo server's own, because the two want different releases of the same libraries.
  python3 -m venv "$TEST_ENV/demo-server"
  "$TEST_ENV/demo-server/bin/pip" install --quiet --requirement deploy/compose/demo-server/requirements.txt
  cp deploy/tests/package.json deploy/tests/package-lock.json "$TEST_ENV/"
  npm ci --prefix "$TEST_ENV" --silent --no-audit --no-fund
  echo "$wanted" >"$TEST_ENV/made-from"
fi

deploy/kubernetes/prometheus-operator/rules.sh
PYTHONDONTWRITEBYTECODE=1 exec "$TEST_ENV/venv/bin/python" -m unittest discover --start-directory deploy/tests --verbose "$@"
