"""The files themselves: importable, complete, and what the generator writes."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards import BOARDS, DIRECTORY, NAMES, REPOSITORY, every_panel, panels, targets, title

# The SDK describes annotations of Grafana's own store only (its comment there: "this should be a regular DataQuery"). The
# Prometheus data source reads these besides; without them a mark on the time axis would not say which alert it is.
BEYOND_THE_SDK = {"step", "titleFormat", "textFormat", "tagKeys", "target.expr", "target.interval", "target.refId"}


def lost(before, after, place=""):
    """What `before` has and `after` has not, or has otherwise. The SDK may add its defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            here = f"{place}.{key}".strip(".")
            yield from lost(value, after[key], here) if key in after else [here]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{place}[{i}]")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield f"{place}: {before!r} became {after!r}"


@pytest.mark.parametrize("name", NAMES)
def test_survives_the_foundation_sdk(name):
    register_default_plugins()
    board = BOARDS[name]
    after = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    annotations = board["annotations"]["list"]
    expected = {f"annotations.list[{i}].{key}" for i in range(len(annotations)) for key in BEYOND_THE_SDK}
    assert set(lost(board, after)) == expected


def test_the_round_trip_would_notice_a_loss():
    board = json.loads(json.dumps(BOARDS["fleet"]))
    board["panels"][0]["options"]["colourMode"] = "value"
    after = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert "panels[0].options.colourMode" in set(lost(board, after))


def test_is_what_the_generator_writes():
    done = subprocess.run([sys.executable, DIRECTORY / "generator", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_their_own_places(name):
    seen, taken = set(), {}
    for panel in BOARDS[name]["panels"]:
        assert panel["id"] not in seen
        seen.add(panel["id"])
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    titles = [panel["title"] for panel in panels(name)]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize(("name", "panel"), every_panel(), ids=title)
def test_panel_is_complete(name, panel):
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"] and re.search(r"\w\.$", panel["description"]), "a description is a sentence"
    assert defaults["unit"]
    assert defaults["thresholds"]["steps"]
    assert defaults["noValue"], "what an empty panel means is said in words"
    assert panel["targets"]


@pytest.mark.parametrize("target", targets(), ids=title)
def test_legend_is_written_out(target):
    legend = target.target["legendFormat"]
    assert legend and legend != "__auto"
    # A legend of nothing but `{{pod}}` would be empty for everything that has no pods.
    assert re.sub(r"\{\{pod\}\}", "", legend).strip()


@pytest.mark.parametrize("panel", [panel for _, panel in every_panel() if panel["type"] in ("stat", "gauge")], ids=title)
def test_tiles_show_the_present(panel):
    # Over a range, the last value of an exporter that died would stay on the tile.
    assert all(target["instant"] and not target["range"] for target in panel["targets"])


def mappings_of(panel):
    config = panel["fieldConfig"]
    yield from config["defaults"].get("mappings", [])
    for override in config["overrides"]:
        yield from (m for p in override["properties"] if p["id"] == "mappings" for m in p["value"])


@pytest.mark.parametrize("target", targets(), ids=title)
def test_a_status_is_words_that_differ_without_colour(target):
    if not re.match(r"(max without \(instance\) \()?(mcp_\w*_status|up|\w+_successful)\{", target.expr):
        return
    found = list(mappings_of(target.panel))
    assert found, "a status without words"
    for mapping in found:
        results = [result for result in mapping["options"].values()]
        assert len({result["text"][0] for result in results}) == len(results), "signs differ"
        assert len({result["color"] for result in results}) == len(results), "colours differ"
        assert all(re.match(r"[^\w\s] \w", result["text"]) for result in results)


@pytest.mark.parametrize("name", ["fleet", "server"])
def test_status_thresholds(name):
    steps = [{"color": "red", "value": 0}, {"color": "yellow", "value": 0.5}, {"color": "green", "value": 1}]
    if name == "server":
        [panel] = [panel for panel in panels(name) if panel["title"] == "Status"]
        assert panel["type"] == "stat" and panel["fieldConfig"]["defaults"]["thresholds"]["steps"] == steps
    else:
        [panel] = [panel for panel in panels(name) if panel["type"] == "table" and "worst" in panel["title"]]
        [found] = [
            prop["value"]["steps"]
            for override in panel["fieldConfig"]["overrides"]
            if {"id": "displayName", "value": "Status"} in override["properties"]
            for prop in override["properties"]
            if prop["id"] == "thresholds"
        ]
        assert found == steps


def test_pool_gauge():
    [panel] = [panel for panel in panels("server") if panel["title"] == "Pool"]
    assert panel["type"] == "gauge"
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"] == [
        {"color": "green", "value": None},
        {"color": "yellow", "value": 0.8},
        {"color": "red", "value": 0.95},
    ]


def test_links_lead_somewhere():
    uids = {board["uid"] for board in BOARDS.values()}
    for name, board in BOARDS.items():
        text = json.dumps(board)
        for uid, slug, query in re.findall(r'"/d/([\w-]+)/([\w-]+)\?([^"]*)"', text):
            assert uid == slug and uid in uids
            assert "${datasource:queryparam}" in query and "${instance:queryparam}" in query, name
            # Variables of a link: the dashboard's own, fields of the line, the time.
            for variable in re.findall(r"\$\{(\w+)", query):
                known = {v["name"] for v in board["templating"]["list"]} | {"__data", "__url_time_range"}
                assert variable in known, variable
    table = json.dumps([panel for panel in panels("fleet") if panel["type"] == "table"])
    assert table.count("/d/mcp-server/mcp-server?") == 4
    for part in ("var-server=${__data.fields.server:percentencode}", "var-job=${__data.fields.job:percentencode}",
                 "${__url_time_range}"):
        assert part in table


def test_fields_that_links_read_are_not_left_out():
    for _, panel in every_panel():
        read = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
        for step in panel.get("transformations", []):
            assert not read & set(step["options"].get("excludeByName", {}))


def test_runbooks_are_where_the_alerts_say():
    base = (REPOSITORY / "alerts/runbooks/base-url").read_text().strip()
    urls = set(re.findall(r'"(https?://[^"]*)"', json.dumps(BOARDS["fleet"])))
    assert urls == {base + "/${__value.raw}.md"}


def test_annotations():
    for name, board in BOARDS.items():
        # Of servers, and so not of the exporter.
        maintenance = set() if name == "exporter" else {"Maintenance"}
        names = {annotation["name"] for annotation in board["annotations"]["list"]}
        assert names == {"Alerts", "Restarts"} | maintenance
        for annotation in board["annotations"]["list"]:
            assert annotation["expr"] == annotation["target"]["expr"], name


def test_provisioning():
    load = lambda path: yaml.safe_load((DIRECTORY / "provisioning" / path).read_text())
    [source] = load("datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["editable"]) == ("prometheus", False)
    [provider] = load("dashboards/mcp.yml")["providers"]
    assert provider["type"] == "file" and provider["allowUiUpdates"] is False
    # Nothing but dashboards: Grafana tries every JSON file below the directory that it is given.
    assert {path.stem for path in DIRECTORY.rglob("*.json")} == set(NAMES)
