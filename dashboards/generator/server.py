"""One server: how it is, since when, and what it is short of.

Panels for the catalog and the child process belong here, too: each a `row()` with its panels at the
end of `build()`, as soon as their metrics exist.
"""

from grafana import *


def best(metric, extra=""):
    """The value as the server tells it, to however many exporters."""
    return f"max without (instance) ({metric}{{{SERVER}{extra}}})"


def percentile(share):
    return (f"histogram_quantile({share}, sum by (le) "
            f"(rate(mcp_response_duration_seconds_bucket{{{SERVER}}}[$__rate_interval])))")


def per_minute(metric, by):
    return f"sum by ({by}) (rate({metric}{{{SERVER}}}[$__rate_interval])) * 60"


NOW = [
    stat(
        "Status",
        "What the last poll found: healthy, degraded, or unhealthy, which includes not reachable.",
        [query(best("mcp_health_status"), "status {{pod}}{{address}}", instant=True)],
        unit="none",
        steps=STATUS_STEPS,
        mappings=STATUS,
        height=5,
        no_value="no data",
    ),
    stat(
        "Database",
        "The database behind the server, as the server says.",
        [query(best("mcp_database_status"), "database {{pod}}{{address}}", instant=True)],
        unit="none",
        steps=STATUS_STEPS,
        mappings=DATABASE,
        height=5,
        no_value="not reported",
    ),
    gauge(
        "Pool",
        "Share of the connection pool in use. Warning above 80 % for 2 minutes, critical above 95 % for 30 seconds.",
        [query(best("mcp_pool_utilization"), "pool {{pod}}{{address}}", instant=True)],
        steps=POOL_STEPS,
    ),
    gauge(
        "Memory",
        "Share of its memory in use, as the server says. Warning above 80 % for 5 minutes.",
        [query(best("mcp_memory_utilization"), "memory {{pod}}{{address}}", instant=True)],
        steps=SHARE_STEPS,
    ),
    gauge(
        "Disk",
        "Share of its disk in use, as the server says.",
        [query(best("mcp_disk_utilization"), "disk {{pod}}{{address}}", instant=True)],
        steps=SHARE_STEPS,
    ),
    stat(
        "Uptime",
        "Time since the server started, as it says. Blue in the first hour.",
        [query(best("mcp_uptime_seconds"), "up for {{pod}}{{address}}", instant=True)],
        unit="s",
        decimals=1,
        steps=thresholds(BLUE, (3600, GREY)),
        color_mode="value",
        height=5,
        no_value="not reported",
    ),
    timeline(
        "Status history",
        "Status over the time shown. Reported: the one that counts. By thresholds: what utilization, latency and checks "
        "add up to. A gap: nobody asked. In maintenance no alert is raised.",
        [
            query(best("mcp_health_status"), "reported {{pod}}{{address}}"),
            query(best("mcp_health_computed_status"), "by thresholds {{pod}}{{address}}"),
            query(best("mcp_database_status"), "database {{pod}}{{address}}"),
            query(best("mcp_maintenance"), "maintenance {{pod}}{{address}}"),
        ],
        mappings=STATUS,
        overrides=[
            override("/^database/", ("mappings", DATABASE), by="byRegexp"),
            override("/^maintenance/", ("mappings", MAINTENANCE), by="byRegexp"),
        ],
        width=18,
        height=6,
    ),
    stat(
        "Status comes from",
        "How the health is asked for, the form of the answer, and the transport. With `protocol` an answering server "
        "counts as healthy: nobody looked at its database.",
        [
            query(f"group by (source, dialect) (mcp_health_info{{{SERVER}}})", "{{source}}: {{dialect}}",
                  instant=True),
            query(f"group by (version, transport) (mcp_server_info{{{SERVER}}})", "{{version}} over {{transport}}",
                  instant=True),
        ],
        unit="none",
        steps=PLAIN,
        color_mode="none",
        text_mode="name",
        width=6,
        height=6,
        no_value="no answer",
    ),
]

RESPONSE = [
    row("Response time"),
    graph(
        "Response time",
        "From the health question to its answer, without connecting and retries. 95 % of the answers should take less "
        "than 50 ms; critical above 500 ms for a minute.",
        [
            query(best("mcp_response_time_seconds"), "last answer {{pod}}{{address}}"),
            query(percentile(0.5), "50 % faster than"),
            query(percentile(0.95), "95 % faster than"),
            query(percentile(0.99), "99 % faster than"),
        ],
        unit="s",
        steps=thresholds(GREEN, (0.05, YELLOW), (0.5, RED)),
        limits=True,
        overrides=[
            override("/^last answer/", ("custom.lineWidth", 0), ("custom.fillOpacity", 0),
                     ("custom.showPoints", "always"), ("custom.pointSize", 3),
                     ("color", {"mode": "fixed", "fixedColor": GREY}), by="byRegexp"),
        ],
        no_value="no answer",
    ),
    graph(
        "Phases of the last poll",
        "Where the time goes. On a kept connection only the request itself; after a reconnect also name, connection, "
        "TLS and handshake.",
        [query(best("mcp_phase_duration_seconds"), "{{phase}} {{pod}}{{address}}")],
        unit="s",
        bars=True,
        stacked=True,
        no_value="no answer",
    ),
]

DATABASE_AND_POOL = [
    row("Database and pool"),
    graph(
        "Database latency",
        "Time of a database query, as the server says. Warning above 100 ms for 2 minutes.",
        [query(best("mcp_database_latency_seconds"), "latency {{pod}}{{address}}")],
        unit="s",
        steps=thresholds(GREEN, (0.1, YELLOW)),
        limits=True,
    ),
    graph(
        "Pool connections",
        "Open connections in use and idle; the line is what the pool may open, dots are requests that wait for one.",
        [
            query(best("mcp_pool_connections", ', state="active"'), "active {{pod}}{{address}}"),
            query(best("mcp_pool_connections", ', state="idle"'), "idle {{pod}}{{address}}"),
            query(f"{best('mcp_pool_max_size')} or {best('mcp_pool_size')}", "limit {{pod}}{{address}}"),
            query(best("mcp_pool_waiting_requests"), "waiting {{pod}}{{address}}"),
        ],
        unit="short",
        decimals=0,
        stacked=True,
        overrides=[
            override("/^active/", ("color", {"mode": "fixed", "fixedColor": "blue"}), by="byRegexp"),
            override("/^idle/", ("color", {"mode": "fixed", "fixedColor": "light-blue"}), ("custom.fillOpacity", 8),
                     by="byRegexp"),
            override("/^limit/", ("color", {"mode": "fixed", "fixedColor": GREY}), ("custom.fillOpacity", 0),
                     ("custom.stacking", {"mode": "none", "group": "A"}),
                     ("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}), by="byRegexp"),
            override("/^waiting/", ("color", {"mode": "fixed", "fixedColor": "orange"}), ("custom.fillOpacity", 0),
                     ("custom.stacking", {"mode": "none", "group": "A"}), ("custom.showPoints", "always"),
                     ("custom.lineWidth", 0), by="byRegexp"),
        ],
    ),
]

CHECKS_AND_FAILURES = [
    row("Checks and failures"),
    timeline(
        "Checks",
        "The named checks of the health document.",
        [query(best("mcp_check_status"), "{{check}} {{pod}}{{address}}")],
        mappings=CHECK,
        width=12,
        no_value="not reported",
    ),
    graph(
        "Failures by reason",
        "Failed polls a minute by the reason of their last attempt, and further attempts inside polls, which show "
        "before polls fail. Empty when no poll has ever failed.",
        [
            query(per_minute("mcp_poll_failures_total", "reason"), "{{reason}}"),
            query(f"sum(rate(mcp_poll_retries_total{{{SERVER}}}[$__rate_interval])) * 60", "further attempts"),
        ],
        unit="cpm",
        bars=True,
        stacked=True,
        overrides=[
            override("further attempts", ("color", {"mode": "fixed", "fixedColor": GREY}),
                     ("custom.drawStyle", "line"), ("custom.lineWidth", 1), ("custom.fillOpacity", 0),
                     ("custom.stacking", {"mode": "none", "group": "A"})),
        ],
        no_value="✔ no failures",
    ),
]

RESOURCES = [
    row("Memory and disk"),
    graph(
        "Memory in use",
        "Memory in use and its limit, as the server says.",
        [
            query(best("mcp_memory_usage_bytes"), "in use {{pod}}{{address}}"),
            query(best("mcp_memory_limit_bytes"), "limit {{pod}}{{address}}"),
        ],
        unit="bytes",
        overrides=[
            override("/^limit/", ("color", {"mode": "fixed", "fixedColor": GREY}), ("custom.fillOpacity", 0),
                     ("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}), by="byRegexp"),
        ],
    ),
    graph(
        "Disk free",
        "Disk space left, as the server says.",
        [query(best("mcp_disk_free_bytes"), "free {{pod}}{{address}}")],
        unit="bytes",
    ),
]

PROCESS = [
    row("Child process"),
    graph(
        "Memory of the child",
        "Resident memory of a stdio server's process with everything that it started. A line that only rises is a leak.",
        [query(best("mcp_process_resident_memory_bytes"), "resident {{pod}}{{address}}")],
        unit="bytes",
        no_value="no child process",
    ),
    graph(
        "Processors in use",
        "What the child and everything that it started use, 1 is a whole processor. Those that ended count as well.",
        [query(f"max without (instance) (rate(mcp_process_cpu_seconds_total{{{SERVER}}}[$__rate_interval]))",
               "processors {{pod}}{{address}}")],
        unit="short",
        decimals=2,
        no_value="no child process",
    ),
    graph(
        "Open files and threads",
        "Of the child and everything that it started. Lines that only rise are leaks.",
        [
            query(best("mcp_process_open_fds"), "open files {{pod}}{{address}}"),
            query(best("mcp_process_threads"), "threads {{pod}}{{address}}"),
        ],
        unit="short",
        decimals=0,
        no_value="no child process",
    ),
    graph(
        "Restarts and errors",
        "Starts after the first, and lines on standard error. The exporter logs them at debug level.",
        [
            query(f"sum without (instance) (increase(mcp_process_restarts_total{{{SERVER}}}[$__rate_interval]))",
                  "restarts {{pod}}{{address}}"),
            query(f"sum without (instance) (increase(mcp_process_stderr_lines_total{{{SERVER}}}[$__rate_interval]))",
                  "lines on stderr {{pod}}{{address}}"),
        ],
        unit="short",
        decimals=0,
        bars=True,
        no_value="no child process",
    ),
    stat(
        "Last exit",
        "Signal and exit code of the child that ended last. Signal 0: it ended by itself. 9 is often the system short of "
        "memory, 11 and 6 are faults of its own.",
        [
            query(best("mcp_process_last_exit_signal"), "signal {{pod}}{{address}}", instant=True),
            query(best("mcp_process_last_exit_code"), "exit code {{pod}}{{address}}", instant=True),
        ],
        unit="none",
        decimals=0,
        steps=thresholds(GREY, (1, YELLOW)),
        color_mode="value",
        width=12,
        no_value="none has ended",
    ),
    stat(
        "Start",
        "How long the child took from its start to its first answer, and how long ago it was started.",
        [
            query(best("mcp_process_startup_seconds"), "until it answered {{pod}}{{address}}", instant=True),
            query(f"time() - {best('mcp_process_start_time_seconds')}", "runs for {{pod}}{{address}}", instant=True),
        ],
        unit="s",
        decimals=1,
        steps=thresholds(GREY),
        color_mode="value",
        width=12,
        no_value="no child process",
    ),
]

PROTECTION = [
    row("Protection"),
    stat(
        "Certificate",
        "Time until the first certificate of the server's chain ends. Warning within 14 days and a quarter of its life, "
        "critical within 3 days and a tenth.",
        [query(f"min without (instance) (mcp_tls_certificate_not_after_timestamp_seconds{{{SERVER}}}) - time()",
               "ends in {{pod}}{{address}}", instant=True)],
        unit="s",
        decimals=1,
        steps=thresholds(RED, (3 * 86400, YELLOW), (14 * 86400, GREEN)),
        color_mode="value",
        width=8,
        no_value="no TLS",
    ),
    stat(
        "Token",
        "What the token had left at the last poll, of servers that are sent one with a known end. Warning below 30 s.",
        [query(f"min without (instance) (mcp_auth_token_expiry_timestamp_seconds{{{SERVER}}} "
               f"- mcp_last_poll_timestamp_seconds{{{SERVER}}})", "had left {{pod}}{{address}}", instant=True)],
        unit="s",
        decimals=1,
        steps=thresholds(YELLOW, (30, GREY)),
        color_mode="value",
        width=8,
        no_value="none, or its end is not known",
    ),
    stat(
        "Authentication",
        "Of servers with `health.expect_auth`: whether requests without credentials are refused.",
        [query(f"min without (instance) (mcp_auth_enforced{{{SERVER}}})", "authentication {{pod}}{{address}}", instant=True)],
        unit="none",
        steps=thresholds(RED, (1, GREEN)),
        mappings=AUTH,
        width=8,
        no_value="not expected",
    ),
]

CATALOG = [
    row("Catalog"),
    graph(
        "Tools, resources and prompts",
        "What the server lists, read every 5 minutes between two polls.",
        [
            query(best("mcp_tools"), "tools {{pod}}{{address}}"),
            query(best("mcp_resources"), "resources {{pod}}{{address}}"),
            query(best("mcp_resource_templates"), "resource templates {{pod}}{{address}}"),
            query(best("mcp_prompts"), "prompts {{pod}}{{address}}"),
        ],
        unit="short",
        decimals=0,
        no_value="not read",
    ),
    graph(
        "Size of the tool definitions",
        "What all tools, and the largest of them, cost the context of an agent that is shown them: their definitions as "
        "compact JSON.",
        [
            query(best("mcp_tool_definitions_bytes"), "all tools {{pod}}{{address}}"),
            query(best("mcp_largest_tool_bytes"), "{{tool}} {{pod}}{{address}}"),
        ],
        unit="bytes",
        no_value="not read",
    ),
    graph(
        "Changes of the catalog",
        "Definitions that changed, by what became of them. A risk is a readOnlyHint or destructiveHint that means "
        "something else. The exporter's log names them. The first of its kind shows as another hash alone.",
        [
            query(f"sum by (kind, change) (increase(mcp_catalog_changes_total{{{SERVER}}}[$__rate_interval]))",
                  "{{kind}} {{change}}"),
            query(f"max by (kind) (changes(mcp_catalog_hash{{{SERVER}}}[$__rate_interval]))", "{{kind}}: another hash"),
        ],
        unit="short",
        decimals=0,
        bars=True,
        stacked=True,
        no_value="✔ no changes",
    ),
    graph(
        "Not as reviewed",
        "Definitions that are not what the lock file says; 0 is what was reviewed. `mcp-exporter catalog diff` tells how "
        "they differ.",
        [query(best("mcp_catalog_drift"), "{{kind}} {{pod}}{{address}}")],
        unit="short",
        decimals=0,
        steps=thresholds(GREEN, (1, RED)),
        no_value="no lock file",
    ),
]


CANARIES = [
    row("Canaries"),
    timeline(
        "Canaries",
        "Whether the tools that are called between polls answer as expected. Refused ones count as failing.",
        [query(best("mcp_canary_success"), "{{canary}} {{pod}}")],
        mappings=CHECK,
        width=12,
        no_value="no canaries",
    ),
    graph(
        "Answers of the canaries",
        "From the call of a tool to its answer. Canaries without an answer have no line.",
        [query(best("mcp_canary_duration_seconds"), "{{canary}} {{pod}}")],
        unit="s",
        no_value="no canaries",
    ),
    graph(
        "Why canaries fail",
        "The reason of each canary that fails. `refused` is a tool that does not say that it only reads, and is not called.",
        [query(f"max by (canary, reason) (mcp_canary_failure_reason{{{SERVER}}})", "{{canary}}: {{reason}}")],
        unit="none",
        decimals=0,
        bars=True,
        stacked=True,
        no_value="✔ no failures",
    ),
    stat(
        "Last success",
        "How long ago each canary last answered as expected.",
        [query(f"time() - {best('mcp_canary_last_success_timestamp_seconds')}", "{{canary}} {{pod}}", instant=True)],
        unit="s",
        decimals=0,
        steps=thresholds(GREY),
        color_mode="value",
        width=12,
        height=8,
        no_value="none",
    ),
]


PASSTHROUGH = [
    row("Its own metrics"),
    graph(
        "Samples taken over",
        "Samples of the server's own metrics that its last reading left. Nothing while the server does not answer.",
        [query(best("mcp_passthrough_samples"), "samples {{pod}}{{address}}")],
        unit="short",
        decimals=0,
        no_value="no own metrics",
    ),
    graph(
        "Samples dropped, and readings that failed",
        "Samples that could not be taken over, by reason; `conflict` and `duplicate` are with other servers, at each scrape. "
        "A reading that fails fails no poll.",
        [
            query(f"max by (reason) (increase(mcp_passthrough_dropped_total{{{SERVER}}}[$__rate_interval]))", "{{reason}}"),
            query(f"max by (reason) (increase(mcp_passthrough_failures_total{{{SERVER}}}[$__rate_interval]))",
                  "reading: {{reason}}"),
        ],
        unit="short",
        decimals=0,
        bars=True,
        stacked=True,
        no_value="✔ nothing dropped",
    ),
]


def build():
    return dashboard(
        "mcp-server",
        "MCP server",
        "One MCP server: how it is, since when, and what it is short of. Status: ✔ healthy, ▲ degraded, ✖ unhealthy or "
        "not reachable.",
        variables=variables("mcp_up", server_multi=False),
        annotations=[
            alerts_annotation('server="$server"'),
            annotation("Restarts", f"{best('mcp_uptime_seconds')} < 120", BLUE, "{{server}} restarted", "{{pod}}{{address}}",
                       "server"),
            maintenance_annotation(f"{best('mcp_maintenance')} == 1"),
        ],
        links=[
            nav("Fleet", "mcp-fleet", "All servers"),
            nav("Exporter", "mcp-exporter", "The exporter that asks this server"),
        ],
        panels=NOW + RESPONSE + DATABASE_AND_POOL + CHECKS_AND_FAILURES + RESOURCES + PROCESS + PROTECTION + CANARIES
        + CATALOG + PASSTHROUGH,
        time_from="now-3h",
    )
