"""Every metric and label in the dashboards exists: in what `mcp-exporter metrics-reference` prints, or in Prometheus."""

import os
import re
import subprocess

import promql_parser
import pytest

from boards import BOARDS, NAMES, nodes, parse, selectors, targets, title

# Labels that Prometheus and its service discovery attach to every series of a target.
OF_TARGETS = {"job", "instance", "pod"}
# What Prometheus itself writes. `server` and `severity` come from our rules.
OF_ALERTS = {"alertname", "service", "severity", "server", "job"}
OF_PROMETHEUS = {
    "up": OF_TARGETS,
    "scrape_duration_seconds": OF_TARGETS,
    "ALERTS": OF_ALERTS | {"alertstate"},
    "ALERTS_FOR_STATE": OF_ALERTS,
}


def read_reference():
    """{metric: {label: closed values or an empty set}}"""
    binary = os.environ["MCP_EXPORTER_BIN"]
    text = subprocess.run([binary, "metrics-reference"], check=True, capture_output=True, text=True).stdout
    found = {}
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| ", text, re.M):
        own = {label: set(values.split(", ")) - {""} for label, values in re.findall(r"`(\w+)`(?:: ([^;]*))?", labels)}
        if name.startswith("mcp_") and not name.startswith("mcp_exporter_"):
            own["server"] = set()
            # Of those servers that are several addresses behind a name.
            own["address"] = set()
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            found[name + suffix] = own | ({"le": set()} if suffix == "_bucket" else {})
    assert len(found) > 40, text
    return found


REFERENCE = read_reference()


def labels_of(metric):
    if metric in OF_PROMETHEUS:
        return OF_PROMETHEUS[metric]
    assert metric in REFERENCE, f"{metric} is not in the metrics reference"
    return set(REFERENCE[metric]) | OF_TARGETS


def check(expr, legends=()):
    known = set()
    for metric, matchers, _ in selectors(expr):
        labels = labels_of(metric)
        known |= labels
        for matcher in matchers:
            assert matcher.name in labels, f"{metric} has no label {matcher.name}"
            closed = REFERENCE.get(metric, {}).get(matcher.name)
            if closed and "$" not in matcher.value:
                assert set(matcher.value.split("|")) <= closed, f"{matcher.name} is never {matcher.value}"
    aggregations = [node for node, _ in nodes(parse(expr)) if isinstance(node, promql_parser.AggregateExpr)]
    # The label that `count_values` makes.
    known |= {node.param.val for node in aggregations if isinstance(node.param, promql_parser.StringLiteral)}
    for node, _ in nodes(parse(expr)):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            assert set(node.modifier.labels) <= known
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            assert set(node.modifier.matching.labels) <= known
    for legend in legends:
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known, legend


@pytest.mark.parametrize("target", targets(), ids=title)
def test_panels(target):
    check(target.expr, [target.target["legendFormat"]])


@pytest.mark.parametrize("name", NAMES)
def test_variables_and_annotations(name):
    board = BOARDS[name]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            check(selector)
            [(metric, _, _)] = selectors(selector)
            assert label in labels_of(metric)
    for annotation in board["annotations"]["list"]:
        check(annotation["expr"], [annotation["titleFormat"], annotation["textFormat"]])


def test_columns_of_tables_exist():
    known = {label for labels in REFERENCE.values() for label in labels} | OF_TARGETS | OF_ALERTS
    for target in targets():
        for step in target.panel.get("transformations", []):
            for field in step["options"].get("indexByName", {}):
                assert field in known or re.fullmatch("Value( #[A-P])?", field), field
                if match := re.fullmatch("Value #([A-P])", field):
                    assert match[1] in {t["refId"] for t in target.panel["targets"]}


@pytest.mark.parametrize(
    "expr",
    [
        "mcp_no_such_metric",
        'mcp_pool_connections{state="busy"}',
        'mcp_up{reason="dns"}',
        "sum by (check) (mcp_up)",
        "mcp_up * ignoring (reason) mcp_health_status",
    ],
)
def test_what_does_not_exist_is_noticed(expr):
    with pytest.raises(AssertionError):
        check(expr)
