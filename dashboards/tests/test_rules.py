"""The rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter), all that concern Prometheus.

Two are stricter than there: every kind of panel is looked at, and every range is `$__rate_interval` unless it is a
subquery. Exceptions stand in `.lint`, where the linter reads them, too.
"""

import re

import promql_parser
import pytest

from boards import BOARDS, NAMES, STAND_INS, every_panel, lint_exclusions, nodes, parse, selectors, targets, title

UNITS = {"none", "short", "percentunit", "s", "bytes", "cps", "cpm"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def excluded(rule, board, panel):
    entries = lint_exclusions().get(rule, {}).get("entries", [])
    return any(entry["dashboard"] == BOARDS[board]["title"] and entry["panel"] == panel["title"] for entry in entries)


def variables(name):
    return {variable["name"]: variable for variable in BOARDS[name]["templating"]["list"]}


@pytest.mark.parametrize("name", NAMES)
def test_dashboard(name):
    board = BOARDS[name]
    assert board["editable"] is False
    assert list(variables(name)) == ["datasource", "job", "instance", "server"]
    source = variables(name)["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    for variable in list(variables(name).values())[1:]:
        assert (variable["type"], variable["datasource"], variable["refresh"]) == ("query", DATASOURCE, 2)
        assert variable["label"] == variable["name"].title()
        assert re.fullmatch(r"label_values\(.+, (\w+)\)", variable["query"])[1] == variable["name"]
        parse(re.fullmatch(r"label_values\((.+), \w+\)", variable["query"])[1])
    for variable in (variables(name)["job"], variables(name)["instance"]):
        assert variable["multi"] is True and variable["allValue"] == ".+"


@pytest.mark.parametrize(("name", "panel"), every_panel(), ids=title)
def test_panel(name, panel):
    assert panel["datasource"] == DATASOURCE
    assert panel["title"] and panel["description"]
    assert panel["targets"] and all(target["datasource"] == DATASOURCE for target in panel["targets"])
    units = [panel["fieldConfig"]["defaults"]["unit"]]
    for override in panel["fieldConfig"]["overrides"]:
        units += [prop["value"] for prop in override["properties"] if prop["id"] == "unit"]
    assert set(units) <= UNITS


@pytest.mark.parametrize("target", targets(), ids=title)
def test_target(target):
    found = list(selectors(target.expr))
    assert found, "no selector"
    for metric, matchers, parents in found:
        given = {(matcher.name, str(matcher.op), matcher.value) for matcher in matchers}
        for label in ("job", "instance"):
            if not excluded(f"target-{label}-rule", target.board, target.panel):
                assert any(g[0] == label and g[2] == f"${label}" for g in given), f"{metric} lacks {label}"
                assert f'{label}=~"${label}"' in target.expr
        if metric.endswith("_total"):
            assert isinstance(parents[-1], promql_parser.MatrixSelector), f"{metric} outside of rate"
            assert parents[-2].func.name in ("rate", "irate", "increase"), f"{metric} outside of rate"
    for node, _ in nodes(parse(target.expr)):
        if isinstance(node, promql_parser.MatrixSelector):
            assert node.range.total_seconds() == int(STAND_INS["__rate_interval"][:-1]), "a range of its own"


def test_exclusions_are_needed():
    for rule, body in lint_exclusions().items():
        assert body["reason"]
        for entry in body["entries"]:
            label = re.fullmatch(r"target-(\w+)-rule", rule)[1]
            concerned = [
                target
                for target in targets()
                if BOARDS[target.board]["title"] == entry["dashboard"] and target.panel["title"] == entry["panel"]
            ]
            assert any(f'{label}=~"${label}"' not in target.expr for target in concerned), entry
