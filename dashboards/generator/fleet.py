"""The fleet: is anything wrong, and where."""

from grafana import *

# From alerts/runbooks/base-url; tests/test_files.py compares them.
RUNBOOKS = "https://github.com/mcp-exporter/mcp-exporter/blob/main/alerts/runbooks"

# Two exporters that watch one server count once, as in the alerts.
HEALTH = f"max without (instance) (mcp_health_status{{{SERVERS}}})"

# One line a server: its status, and the reason of failing polls where there is one.
STATUS_AND_REASON = f"""max without (instance) (mcp_poll_failure_reason{{{SERVERS}}})
  * ignoring (reason) group_left {HEALTH}
or ignoring (reason) {HEALTH}"""

# The worst of the time shown first, so that a large fleet does not fill the browser.
HISTORY = f"""{HEALTH}
and bottomk(50, avg_over_time(({HEALTH})[$__range:$__interval] @ end()))"""

# Who speaks what is on its way out.
OLD_PROTOCOLS = f"""max without (instance) (mcp_server_info{{{SERVERS}, transport="sse"}})
or max without (instance) (mcp_server_info{{{SERVERS}, protocol_version=~"2024-.+|2025-03-26"}})"""

# Servers whose replicas are not the same: how many versions, revisions and sets of tools there are of each.
def different(what, metric, *besides):
    kept = ", ".join(["instance", "pod", "address", "name", "transport", *besides])
    return f"count without ({what}) (group without ({kept}) ({metric}{{{SERVERS}}})) > 1"


DIFFERENT_VERSIONS = different("version", "mcp_server_info", "protocol_version")
DIFFERENT_PROTOCOLS = different("protocol_version", "mcp_server_info", "version")
DIFFERENT_TOOLS = f"""count without (hash) (
  count_values without (instance, pod, address, kind) ("hash", mcp_catalog_hash{{{SERVERS}, kind="tools"}})
) > 1"""

FIRING = """time() - ALERTS_FOR_STATE{service="mcp", severity=~"critical|warning", job=~"$job"}
and ignoring (alertstate) ALERTS{alertstate="firing", service="mcp", severity=~"critical|warning", job=~"$job"}"""


def count(title, description, condition, steps, none, *, loud=False):
    """A number of servers. 0 only while there are servers: without an answering exporter the tile says so, and is not
    calm and green."""
    return stat(
        title,
        description,
        [query(f"count({HEALTH}{condition}) or 0 * count({HEALTH})", title.lower(), instant=True)],
        unit="none",
        steps=steps,
        mappings=words((0, none, GREEN if loud else GREY)),
        color_mode="background" if loud else "value",
        no_value="no exporter answers",
        width=6,
    )


def share(steps):
    """A ratio as a bar."""
    return [
        ("unit", "percentunit"),
        ("decimals", 0),
        ("min", 0),
        ("max", 1),
        ("thresholds", steps),
        ("custom.cellOptions", {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}),
        ("custom.width", 130),
    ]


def seconds(decimals, *steps, base=GREY):
    return [
        ("unit", "s"),
        ("decimals", decimals),
        ("thresholds", thresholds(base, *steps)),
        ("custom.cellOptions", {"type": "color-text"}),
        ("custom.width", 110),
    ]


def word(mappings, width, cell="color-background"):
    options = {"type": cell, "mode": "basic"} if cell == "color-background" else {"type": cell}
    properties = [("mappings", mappings), ("custom.cellOptions", options), ("custom.width", width)]
    return properties if mappings is SEVERITY else properties + [("thresholds", STATUS_STEPS)]


def columns(*entries, hidden):
    """Transformation and overrides for columns in the order given: (field, name shown, properties)."""
    order = {field: i for i, (field, _, _) in enumerate(entries)}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {}}
    overrides = [override(field, ("displayName", name), *properties) for field, name, properties in entries]
    # Hidden, not left out: links read them.
    overrides.append(override(hidden, ("custom.hidden", True), by="byRegexp"))
    return {"id": "organize", "options": organize}, overrides


def latest(metric):
    return query(f"max without (instance) ({metric}{{{SERVERS}}})", metric, table=True)


def servers():
    organize, overrides = columns(
        ("Value #A", "Status", word(STATUS, 130)),
        ("server", "Server", [("links", [to_server()]), ("custom.minWidth", 160)]),
        ("reason", "Failing because", [("custom.width", 140)]),
        ("Value #I", "Maintenance", [("mappings", MAINTENANCE), ("custom.cellOptions", {"type": "color-text"}),
                                     ("custom.width", 130)]),
        ("Value #B", "Last answer", seconds(0, (15, YELLOW), (60, RED))),
        ("Value #C", "Response", seconds(1, (0.5, RED))),
        ("Value #D", "Pool", share(POOL_STEPS)),
        ("Value #E", "Database", word(DATABASE, 140, "color-text")),
        ("Value #F", "Latency", seconds(1, (0.1, YELLOW))),
        ("Value #G", "Memory", share(SHARE_STEPS)),
        ("Value #H", "Uptime", seconds(1, (3600, GREY), base=BLUE)),
        hidden="/^(job|container|endpoint|service|prometheus|node)$/",
    )
    return table(
        "Servers, worst first",
        "Each server as the last poll found it. A click on its name opens its page. An empty field: the server does "
        "not report it. Where two exporters watch a server, the better view counts, as in the alerts. Configured "
        "labels are the columns on the right. A server in maintenance raises no alert.",
        [
            query(STATUS_AND_REASON, "status", table=True),
            query(f"time() - max without (instance) (mcp_last_success_timestamp_seconds{{{SERVERS}}})", "last answer",
                  table=True),
            latest("mcp_response_time_seconds"),
            latest("mcp_pool_utilization"),
            latest("mcp_database_status"),
            latest("mcp_database_latency_seconds"),
            latest("mcp_memory_utilization"),
            latest("mcp_uptime_seconds"),
            latest("mcp_maintenance"),
        ],
        transformations=[{"id": "merge", "options": {}}, organize],
        overrides=overrides,
        sort=[("Status", False), ("Last answer", True)],
        width=24,
        height=12,
    )


def old_protocols():
    organize, overrides = columns(
        ("server", "Server", [("links", [to_server()]), ("custom.minWidth", 160)]),
        ("transport", "Transport", [("custom.width", 180)]),
        ("protocol_version", "Revision", [("custom.width", 140)]),
        ("name", "Says it is", [("custom.minWidth", 160)]),
        ("version", "Version", [("custom.width", 140)]),
        hidden="/^(Value|job|container|endpoint|service|prometheus|node)$/",
    )
    return table(
        "Old protocols",
        "Servers that are spoken to over HTTP+SSE, which is deprecated, or in a revision before 2025-06-18. They work; "
        "clients will stop speaking to them. `mcp_protocol_offered_info` tells what else a server offers.",
        [query(OLD_PROTOCOLS, "{{server}}", table=True)],
        transformations=[organize],
        overrides=overrides,
        sort=[("Revision", False)],
        width=24,
        height=8,
        no_value="✔ none",
    )


def replicas():
    organize, overrides = columns(
        ("server", "Server", [("links", [to_server()]), ("custom.minWidth", 160)]),
        ("Value #A", "Versions", [("custom.width", 130)]),
        ("Value #B", "Revisions", [("custom.width", 130)]),
        ("Value #C", "Sets of tools", [("custom.width", 130)]),
        hidden="/^(job|container|endpoint|service|prometheus|node)$/",
    )
    return table(
        "Replicas that differ",
        "Servers of which not every replica has the same version, protocol revision or tools, and how many different ones there "
        "are. Replicas are the addresses behind a name (`resolve: all`) or pods with sidecars. A rollout is seen here, too.",
        [
            query(DIFFERENT_VERSIONS, "versions", table=True),
            query(DIFFERENT_PROTOCOLS, "revisions", table=True),
            query(DIFFERENT_TOOLS, "tools", table=True),
        ],
        transformations=[{"id": "merge", "options": {}}, organize],
        overrides=overrides,
        sort=[("Versions", True)],
        width=24,
        height=8,
        no_value="✔ none",
    )


def firing():
    organize, overrides = columns(
        ("severity", "Severity", word(SEVERITY, 110)),
        ("alertname", "Alert", [
            ("custom.minWidth", 170),
            ("links", [{"title": "Runbook", "url": RUNBOOKS + "/${__value.raw}.md", "targetBlank": True}]),
        ]),
        ("server", "Server", [("links", [to_server()])]),
        ("Value", "For", [("unit", "s"), ("decimals", 0), ("custom.width", 90)]),
        hidden="/^(job|service)$/",
    )
    return table(
        "Firing alerts",
        "What Prometheus fires just now for these jobs, critical and warning; the name opens the runbook. Alerts that "
        "only inform, such as restarts, are not shown. Empty when all is well, and when the alert rules are not loaded.",
        [query(FIRING, "{{alertname}}", table=True)],
        transformations=[organize],
        overrides=overrides,
        sort=[("Severity", False), ("For", False)],
        width=8,
        height=10,
        no_value="✔ nothing fires",
    )


def build():
    return dashboard(
        "mcp-fleet",
        "MCP fleet",
        "All MCP servers: is anything wrong, and where. Status: ✔ healthy, ▲ degraded, ✖ unhealthy or not reachable.",
        variables=variables("mcp_up"),
        annotations=[
            alerts_annotation('server=~"$server|"'),
            annotation("Restarts", f"max without (instance) (mcp_uptime_seconds{{{SERVERS}}}) < 120", BLUE,
                       "{{server}} restarted", "{{pod}}{{address}}", "server", enable=False),
            maintenance_annotation(f"max without (instance) (mcp_maintenance{{{SERVERS}}}) == 1"),
        ],
        links=[nav("Exporter", "mcp-exporter", "The exporter itself")],
        panels=[
            count("Unhealthy", "Servers that say they are unhealthy, or that cannot be reached.", " < 0.5",
                  thresholds(GREEN, (1, RED)), "✔ none", loud=True),
            count("Degraded", "Servers that work, but not well.", " == 0.5", thresholds(GREY, (1, YELLOW)), "✔ none"),
            count("Healthy", "Servers that are well.", " == 1", thresholds(GREY, (1, GREEN)), "✖ none"),
            count("Servers", "All servers that were polled.", "", PLAIN, "none"),
            servers(),
            timeline(
                "Status history",
                "Status of each server over the time shown; the 50 that were worst on average. A gap: nobody asked.",
                [query(HISTORY, "{{server}} {{pod}}{{address}}")],
                mappings=STATUS,
                width=16,
                height=10,
            ),
            firing(),
            replicas(),
            old_protocols(),
        ],
        time_from="now-6h",
    )
