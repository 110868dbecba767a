#!/usr/bin/env bash
# Tests everything in alerts/ with the real consumers: promtool (2.42 or later), amtool and Alertmanager (0.25 or
# later, through notify.py).
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }
step() { echo "== $*"; }

for tool in promtool amtool python3; do
  command -v "$tool" >/dev/null || fail "$tool is not installed (Debian: prometheus, prometheus-alertmanager, python3)"
done
alertmanager=$(command -v alertmanager || command -v prometheus-alertmanager) || fail "Alertmanager is not installed"
((failed == 0)) || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rules=(recording.yml alerts.yml standalone.yml)
alerts=$(sed -n 's/^ *- alert: //p' "${rules[@]}" | sort -u)
records=$(sed -n 's/^ *- record: //p' "${rules[@]}" | sort -u)
base=$(cat runbooks/base-url)

step "rule files"
promtool check rules --lint=all --lint-fatal "${rules[@]}" || fail "promtool check rules"

step "each alert: labels, annotations, runbook, tests"
# One line an alert, its lines joined by a tab: enough for files that we write ourselves.
awk '/^ *- alert: /{if (a) print a; a=$0; next} /^ *- record: |^ *#|^  - name: /{if (a) print a; a=""; next} a{a=a "\t" $0} ENDFILE{if (a) print a; a=""}' \
  "${rules[@]}" >"$scratch/alerts"
while IFS= read -r alert; do
  name=$(sed 's/^ *- alert: \([A-Za-z]*\).*/\1/' <<<"$alert")
  has() { grep -qP "\t *$1" <<<"$alert" || fail "$name: $2"; }
  has 'service: mcp(\t|$)' 'the label `service: mcp` is missing'
  has 'severity: (critical|warning|info|none)(\t|$)' 'severity is critical, warning, info or none'
  has 'summary: [^{}\t]+(\t|$)' 'the summary is missing or not static'
  has 'description: ' 'the description is missing'
  has "runbook_url: \Q$base/$name.md\E(\t|\$)" "runbook_url is not $base/$name.md"
  if grep -q 'severity: critical' <<<"$alert"; then has 'keep_firing_for: 2m' 'critical, but without `keep_firing_for: 2m`'; fi
done <"$scratch/alerts"
grep -A1 '^  - name: ' alerts.yml standalone.yml | grep 'interval:' | grep -v 'interval: 10s' && fail "a group with alerts whose interval is not 10s"

for name in $alerts; do
  page=runbooks/$name.md
  if [ ! -f "$page" ]; then
    fail "$name has no runbook: $page"
  else
    for heading in "What it means" "Who is affected" "How to confirm it" "What to do" "When it is a false alarm"; do
      grep -qx "## $heading" "$page" || fail "$page: no section \"$heading\""
    done
    [ "$(wc -l <"$page")" -le 45 ] || fail "$page: more than one screen (45 lines)"
  fi
  grep -q "^| \[$name\]($name.md) |" runbooks/README.md || fail "$name is missing in runbooks/README.md"
  # `exp_alerts: []` stands on the line of its alertname, expected alerts on the line after it.
  [ "$name" = Watchdog ] || grep -q "alertname: $name, exp_alerts: \[\]" tests/*.test.yml || fail "$name has no test of being silent"
  grep -A1 "^ *alertname: $name\$" tests/*.test.yml | grep -q 'exp_alerts:$' || fail "$name has no test of firing"
done
for page in runbooks/*.md; do
  name=$(basename "$page" .md)
  [ "$name" = README ] || grep -qx "$name" <<<"$alerts" || fail "$page: there is no such alert"
  for link in $(grep -oP '\]\(\K[^)]+' "$page" | grep -v '^http'); do
    [ -e "runbooks/$link" ] || fail "$page: $link does not exist"
  done
done
for name in $records; do
  grep -qP "expr: .*(?<![\w:])\Q$name\E(?![\w:])" tests/recording.test.yml || fail "$name has no test in recording.test.yml"
done

step "expressions in runbooks"
{
  echo 'groups: [{name: runbooks, rules: ['
  grep -ohP "promtool query instant \S+ '\K[^']+" runbooks/*.md | sort -u | sed "s/.*/{record: 'x:y:z', expr: '&'},/"
  echo ']}]'
} >"$scratch/runbooks.yml"
promtool check rules --lint=none "$scratch/runbooks.yml" >"$scratch/out" 2>&1 || fail "expressions in runbooks: $(cat "$scratch/out")"

step "promtool test rules"
printf '%s\n' tests/*.test.yml | xargs -P "$(nproc)" -I{} sh -c 'out=$(promtool test rules {} 2>&1) && echo "{}: ok" || { echo "$out"; exit 1; }' \
  || fail "promtool test rules"

step "alertmanager.yml"
amtool check-config alertmanager.yml >"$scratch/out" 2>&1 || fail "amtool check-config: $(cat "$scratch/out")"
goes_to() { # receiver labels...
  local receiver=$1; shift
  amtool config routes test --config.file=alertmanager.yml --verify.receivers="$receiver" "$@" >"$scratch/out" 2>&1 \
    || fail "$* goes to $(grep -v '^Warning' "$scratch/out" | head -1), not to $receiver"
}
goes_to pagerduty service=mcp severity=critical alertname=MCPUnhealthy job=mcp-exporter server=billing
goes_to pagerduty service=mcp severity=critical alertname=MCPUnhealthy job=mcp-exporter server=billing team=payments
goes_to slack service=mcp severity=warning alertname=MCPDegraded job=mcp-exporter server=billing
goes_to log service=mcp severity=info alertname=MCPRestarted job=mcp-exporter server=billing
goes_to log service=mcp severity=info alertname=MCPRestarted job=mcp-exporter server=billing team=search
goes_to email service=mcp severity=warning alertname=MCPMemoryHigh job=mcp-exporter server=billing
goes_to dead-mans-switch service=mcp severity=none alertname=Watchdog
goes_to search-pagerduty service=mcp severity=critical alertname=MCPUnhealthy job=mcp-exporter server=billing team=search
goes_to search-slack service=mcp severity=warning alertname=MCPDegraded job=mcp-exporter server=billing team=search
goes_to slack service=mcp severity=warning alertname=MCPCertificateExpires job=mcp-exporter server=billing
goes_to pagerduty service=mcp severity=critical alertname=MCPCertificateExpires job=mcp-exporter server=billing
goes_to pagerduty service=mcp severity=critical alertname=MCPAuthNotEnforced job=mcp-exporter server=billing
goes_to slack service=mcp severity=warning alertname=MCPTokenNotRenewed job=mcp-exporter server=billing
goes_to slack service=mcp severity=warning alertname=MCPProbeFailed job=mcp-probe server=billing
goes_to search-slack service=mcp severity=warning alertname=MCPTokenNotRenewed job=mcp-probe server=billing team=search
goes_to slack service=mcp severity=warning alertname=MCPDiscoveryFailed job=mcp-exporter kind=http_sd
goes_to slack service=other severity=critical alertname=DiskFull

step "notifications"
python3 tests/notify.py "$alertmanager" || fail "notify.py"

((failed == 0)) && echo "all passed"
exit "$failed"
