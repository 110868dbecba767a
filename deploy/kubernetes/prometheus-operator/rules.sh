#!/bin/sh
# Writes rules.yaml and stand-alone/rules.yaml: the rule files of alerts/ as PrometheusRule objects for kustomize.
# They are not kept in git, so that alerts/ stays the only copy; kustomize can neither read files outside of its own
# directory nor put one YAML file into another.
set -eu
cd "$(dirname "$0")"

# rule NAME FILE...: a rule file is a mapping with `groups`; each becomes part of one list below `spec`, two columns deeper.
rule() {
  cat <<EOF
# Made by rules.sh from alerts/: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: $1
  labels:
    app.kubernetes.io/name: mcp-exporter
spec:
  groups:
EOF
  shift
  for file; do
    grep -qx 'groups:' "$file" || { echo "rules.sh: $file does not begin its list with a line \`groups:\`" >&2; exit 1; }
    sed -n '/^groups:$/,$ { /^groups:$/d; s/^\(.\)/  \1/; p; }' "$file"
  done
}

alerts=../../../alerts
rule mcp-exporter "$alerts/recording.yml" "$alerts/alerts.yml" >rules.yaml
rule mcp-exporter-stand-alone "$alerts/standalone.yml" >stand-alone/rules.yaml
