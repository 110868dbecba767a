#!/usr/bin/env bash
# Tests the dashboards: files, linter's rules, names, and every expression against a real Prometheus.
# Needs Python 3.11, `prometheus` on PATH and the built exporter (MCP_EXPORTER_BIN, else target/debug/mcp-exporter).
# Arguments go to pytest: `run.sh -k "not live"` needs no Prometheus.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { echo "dashboards/tests: $*" >&2; exit 1; }

command -v python3 >/dev/null || die "python3 is not installed"
export MCP_EXPORTER_BIN=${MCP_EXPORTER_BIN:-$PWD/target/debug/mcp-exporter}
[ -x "$MCP_EXPORTER_BIN" ] || die "$MCP_EXPORTER_BIN is not there: \`cargo build\` first, or set MCP_EXPORTER_BIN"
export PROMETHEUS_BIN=${PROMETHEUS_BIN:-prometheus}
command -v "$PROMETHEUS_BIN" >/dev/null || die "$PROMETHEUS_BIN is not on PATH: it comes with Prometheus (Debian: apt install prometheus)"
export PYTHONDONTWRITEBYTECODE=1

venv=target/test-env/dashboards
if ! cmp -s dashboards/tests/requirements.txt "$venv/installed"; then
  rm -rf "$venv"
  python3 -m venv "$venv" || die "python3 -m venv failed (Debian: apt install python3-venv)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r dashboards/tests/requirements.txt \
    || die "could not install dashboards/tests/requirements.txt"
  cp dashboards/tests/requirements.txt "$venv/installed"
fi
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider dashboards/tests "$@"
