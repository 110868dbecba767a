"""What the three dashboards share: words and colours of a status, kinds of panels, variables, links, annotations.

Only the standard library: whoever changes a dashboard needs nothing but Python.
"""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Matchers of every selector. `job` and `instance` are multi-valued; Grafana escapes and joins them for `=~`.
EXPORTERS = 'job=~"$job", instance=~"$instance"'
# The fleet's and the exporter's `server` is multi-valued, too; the one of the server's page is a single value.
SERVERS = EXPORTERS + ', server=~"$server"'
SERVER = EXPORTERS + ', server="$server"'

# Grafana's own names of colours, so that they suit the light and the dark theme.
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"


def words(*entries):
    """Numbers as words and colours. Each word begins with a sign of its own: colour is never the only difference."""
    options = {str(value): {"text": text, "color": color, "index": i} for i, (value, text, color) in enumerate(entries)}
    return [{"type": "value", "options": options}]


STATUS = words((0, "✖ unhealthy", RED), (0.5, "▲ degraded", YELLOW), (1, "✔ healthy", GREEN))
DATABASE = words((0, "✖ disconnected", RED), (0.5, "▲ degraded", YELLOW), (1, "✔ connected", GREEN))
CHECK = words((0, "✖ fail", RED), (0.5, "▲ warn", YELLOW), (1, "✔ pass", GREEN))
UP = words((0, "✖ down", RED), (1, "✔ up", GREEN))
RELOAD = words((0, "✖ refused, old one in use", RED), (1, "✔ loaded", GREEN))
MAINTENANCE = words((1, "⚒ maintenance", BLUE))
AUTH = words((0, "✖ open", RED), (1, "✔ asks for it", GREEN))
SOURCE = words((0, "✖ not read", RED), (1, "✔ read", GREEN))
SEVERITY = words(("critical", "✖ critical", RED), ("warning", "▲ warning", YELLOW))


def thresholds(base, *steps):
    """Colours from a value on: `thresholds(GREEN, (0.8, YELLOW))`."""
    return {"mode": "absolute", "steps": [{"color": base, "value": None}] + [{"color": c, "value": v} for v, c in steps]}


# 0 red, 0.5 yellow, 1 green.
STATUS_STEPS = {
    "mode": "absolute",
    "steps": [{"color": RED, "value": 0}, {"color": YELLOW, "value": 0.5}, {"color": GREEN, "value": 1}],
}
POOL_STEPS = thresholds(GREEN, (0.8, YELLOW), (0.95, RED))
SHARE_STEPS = thresholds(GREEN, (0.8, YELLOW))
PLAIN = thresholds(GREY)


def query(expr, legend, *, instant=False, table=False):
    """A target. Its legend is always written out; a trailing `{{pod}}{{address}}` is empty where there are no replicas."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": "table" if table else "time_series",
        "instant": instant or table,
        "legendFormat": legend,
        "range": not (instant or table),
    }


def override(column, *properties, by="byName"):
    """Settings of one column or series: `override("Pool", ("unit", "percentunit"))`."""
    return {
        "matcher": {"id": by, "options": column},
        "properties": [{"id": name, "value": value} for name, value in properties],
    }


def color(series, name):
    return override(series, ("color", {"mode": "fixed", "fixedColor": name}))


def _panel(kind, title, description, width, height, targets, defaults, overrides, options, **more):
    for letter, target in zip("ABCDEFGHIJKLMNOP", targets):
        target["refId"] = letter
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options,
        **more,
    }


def _reduce():
    # Every stat and gauge is an instant query: over a range, the last value of an exporter that died would look alive.
    return {"calcs": ["lastNotNull"], "fields": "", "values": False}


def stat(title, description, targets, *, unit, steps, width=4, height=4, mappings=(), no_value="no data",
         decimals=None, color_mode="background", text_mode="auto", links=()):
    """One value, large. Unlike a graph it never shows the past: no answer is said in words."""
    defaults = {
        "unit": unit,
        "noValue": no_value,
        "color": {"mode": "thresholds"},
        "thresholds": steps,
        "mappings": list(mappings),
        "links": list(links),
    }
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "colorMode": color_mode,
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "reduceOptions": _reduce(),
        "textMode": text_mode,
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    }
    return _panel("stat", title, description, width, height, targets, defaults, [], options)


def gauge(title, description, targets, *, steps, width=4, height=5, no_value="not reported"):
    """A share from 0 to 1."""
    defaults = {
        "unit": "percentunit",
        "decimals": 0,
        "min": 0,
        "max": 1,
        "noValue": no_value,
        "color": {"mode": "thresholds"},
        "thresholds": steps,
    }
    options = {
        "minVizHeight": 75,
        "minVizWidth": 75,
        "orientation": "auto",
        "reduceOptions": _reduce(),
        "showThresholdLabels": False,
        "showThresholdMarkers": True,
        "sizing": "auto",
    }
    return _panel("gauge", title, description, width, height, targets, defaults, [], options)


def graph(title, description, targets, *, unit, steps=PLAIN, width=12, height=8, overrides=(), stacked=False,
          bars=False, limits=False, minimum=0, maximum=None, soft_maximum=None, decimals=None, no_value="not reported"):
    """Values over time. `limits` draws the thresholds as dashed lines, which show once values come near them."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "linear",
        "lineWidth": 0 if bars else 1,
        "fillOpacity": 70 if bars else 25 if stacked else 8,
        "gradientMode": "none",
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
        "axisPlacement": "auto",
        "axisBorderShow": False,
    }
    if soft_maximum is not None:
        custom["axisSoftMax"] = soft_maximum
    defaults = {
        "unit": unit,
        "min": minimum,
        "noValue": no_value,
        "color": {"mode": "palette-classic"},
        "thresholds": steps,
        "custom": custom,
    }
    if maximum is not None:
        defaults["max"] = maximum
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, width, height, targets, defaults, list(overrides), options)


def timeline(title, description, targets, *, mappings, width=24, height=8, overrides=(), per_page=20,
             no_value="no data"):
    """A status over time, one line each. Equal neighbours become one block with the word on it."""
    defaults = {
        "unit": "none",
        "noValue": no_value,
        "color": {"mode": "thresholds"},
        "thresholds": STATUS_STEPS,
        "mappings": mappings,
        "custom": {"fillOpacity": 70, "lineWidth": 0},
    }
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "perPage": per_page,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel("state-timeline", title, description, width, height, targets, defaults, list(overrides), options)


def table(title, description, targets, *, overrides, transformations, sort, width, height, unit="none",
          no_value="–", steps=PLAIN):
    """A table over instant queries."""
    defaults = {
        "unit": unit,
        "noValue": no_value,
        "color": {"mode": "thresholds"},
        "thresholds": steps,
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False},
    }
    options = {
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"], "fields": [], "countRows": False, "enablePagination": True},
        "frameIndex": 0,
        "showHeader": True,
        "sortBy": [{"displayName": name, "desc": desc} for name, desc in sort],
    }
    return _panel("table", title, description, width, height, targets, defaults, overrides, options,
                  transformations=transformations)


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"w": 24, "h": 1}, "panels": []}


def lay_out(panels):
    """Places panels from left to right, and below when a line is full; gives each its number."""
    x = y = line = 0
    for number, panel in enumerate(panels, start=1):
        grid = panel["gridPos"]
        if x + grid["w"] > 24:
            x, y, line = 0, y + line, 0
        panel["id"] = number
        panel["gridPos"] = {"x": x, "y": y, "w": grid["w"], "h": grid["h"]}
        x, line = x + grid["w"], max(line, grid["h"])
    return panels


def datasource_variable():
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "description": "The Prometheus that scrapes the exporters.",
        "query": "prometheus",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "current": {},
        "options": [],
    }


def label_variable(name, label, description, selector, *, multi=True):
    """The values of a label. All by default where several can be chosen."""
    text = f"label_values({selector}, {name})"
    variable = {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "query": text,
        "hide": 0,
        "multi": multi,
        "includeAll": multi,
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 5,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if multi else {},
        "options": [],
    }
    if multi:
        variable["allValue"] = ".+"
    return variable


def variables(metric, *, server_multi=True):
    return [
        datasource_variable(),
        label_variable("job", "Job", "Scrape job of the exporters: mcp-exporter or mcp-exporter-sidecar.", metric),
        label_variable("instance", "Instance", "The exporter that asks.", f'{metric}{{job=~"$job"}}'),
        label_variable("server", "Server", "The MCP server that is asked.", f"mcp_up{{{EXPORTERS}}}",
                       multi=server_multi),
    ]


def annotation(name, expr, icon_color, title, text, tags, *, enable=True):
    """Marks on the time axis. `expr` and the formats stand where the Prometheus data source has always read them,
    `target` where its current versions do."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": enable,
        "hide": False,
        "iconColor": icon_color,
        "expr": expr,
        "step": "60s",
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": tags,
        "target": {"expr": expr, "interval": "60s", "refId": "Anno"},
    }


def alerts_annotation(servers):
    # What concerns no single server (an outage of the fleet, the exporter itself) has no label `server`: shown, too.
    expr = (f'ALERTS{{alertstate="firing", service="mcp", severity=~"critical|warning", job=~"$job", {servers}}}')
    return annotation("Alerts", expr, RED, "{{alertname}} {{server}}", "{{severity}}", "severity,alertname")


def maintenance_annotation(series):
    return annotation("Maintenance", series, BLUE, "{{server}} in maintenance", "{{pod}}{{address}}", "server")


def nav(title, uid, tooltip, *, keep=("datasource", "job", "instance")):
    """A link to another dashboard, at the top."""
    parameters = "&".join(f"${{{name}:queryparam}}" for name in keep)
    return {
        "type": "link",
        "title": title,
        "tooltip": tooltip,
        "url": f"/d/{uid}/{uid}?{parameters}",
        "icon": "dashboard",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": False,
        "keepTime": True,
    }


def to_server(title="Open {server}"):
    """From a line of a table to the page of its server: data source, exporter and time stay."""
    field = "${__data.fields.%s:percentencode}"
    return {
        "title": title.format(server="${__data.fields.server}"),
        "url": "/d/mcp-server/mcp-server?${datasource:queryparam}&${instance:queryparam}"
        f"&var-job={field % 'job'}&var-server={field % 'server'}&${{__url_time_range}}",
        "targetBlank": False,
    }


def dashboard(uid, title, description, *, variables, annotations, links, panels, time_from):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["mcp"],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "version": 1,
        "time": {"from": time_from, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "timezone": "browser",
        "weekStart": "",
        "refresh": "10s",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": links,
        "annotations": {"list": annotations},
        "templating": {"list": variables},
        "panels": lay_out(panels),
    }
