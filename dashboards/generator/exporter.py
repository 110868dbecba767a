"""The exporter itself: does it keep up, what does it cost, does it run what is configured."""

from grafana import *


def own(metric):
    return f"{metric}{{{EXPORTERS}}}"


def per_second(metric, by):
    return f"sum by ({by}) (rate({metric}{{{SERVERS}}}[$__rate_interval]))"


def lag(share):
    return (f"histogram_quantile({share}, sum by (le) "
            f"(rate(mcp_exporter_poll_schedule_lag_seconds_bucket{{{EXPORTERS}}}[$__rate_interval])))")


NOW = [
    stat(
        "Exporters",
        "Whether Prometheus reaches each exporter.",
        [query(own("up"), "{{instance}}", instant=True)],
        unit="none",
        steps=thresholds(RED, (1, GREEN)),
        mappings=UP,
        width=5,
        no_value="✖ no target",
    ),
    stat(
        "Servers",
        "MCP servers in the configuration of each exporter, polled or not.",
        [query(own("mcp_exporter_servers"), "{{instance}}", instant=True)],
        unit="none",
        steps=PLAIN,
        color_mode="value",
    ),
    stat(
        "Configuration",
        "Whether the configuration could be read when it was last tried. When not, the exporter goes on with the one "
        "it had; its log says what is wrong.",
        [query(own("mcp_exporter_config_last_reload_successful"), "{{instance}}", instant=True)],
        unit="none",
        steps=thresholds(RED, (1, GREEN)),
        mappings=RELOAD,
        width=5,
    ),
    stat(
        "Configuration read",
        "How long ago the configuration was last read without an error.",
        [query(f"time() - {own('mcp_exporter_config_last_reload_success_timestamp_seconds')}", "{{instance}}",
               instant=True)],
        unit="s",
        decimals=1,
        steps=PLAIN,
        color_mode="value",
        width=5,
    ),
    stat(
        "Version",
        "What runs: version and commit.",
        [query(f"group by (version, commit) ({own('mcp_exporter_build_info')})", "{{version}} ({{commit}})",
               instant=True)],
        unit="none",
        steps=PLAIN,
        color_mode="none",
        text_mode="name",
        width=5,
    ),
]

POLLS = [
    row("Polls"),
    graph(
        "Polls by result",
        "Finished polls of the chosen servers a second, by what they found.",
        [query(per_second("mcp_polls_total", "result"), "{{result}}")],
        unit="cps",
        stacked=True,
        overrides=[color("healthy", GREEN), color("degraded", YELLOW), color("unhealthy", RED),
                   color("failed", "dark-red")],
    ),
    graph(
        "Polls late",
        "How much later than planned polls begin. Above a second the exporter has too much to do, or too little CPU.",
        [
            query(lag(0.5), "50 % less than"),
            query(lag(0.95), "95 % less than"),
            query(lag(0.99), "99 % less than"),
        ],
        unit="s",
        steps=thresholds(GREEN, (1, YELLOW)),
        limits=True,
    ),
    graph(
        "Polls in flight",
        "Polls that run just now. It follows the number of servers and how slowly they answer.",
        [query(own("mcp_exporter_polls_in_flight"), "{{instance}}")],
        unit="short",
        decimals=0,
        width=8,
    ),
    graph(
        "Sessions",
        "MCP sessions opened and ended a minute, which is what the exporter costs the servers. Near zero in ordinary "
        "times: sessions are kept.",
        [
            query(f"sum(rate(mcp_sessions_opened_total{{{SERVERS}}}[$__rate_interval])) * 60", "opened"),
            query(f"sum(rate(mcp_sessions_closed_total{{{SERVERS}}}[$__rate_interval])) * 60", "ended"),
        ],
        unit="cpm",
        width=8,
    ),
    graph(
        "Dropped from documents",
        "Fields of health documents a minute that could not be right, and checks and values beyond a limit. The log "
        "names them.",
        [
            query(f"sum(rate(mcp_health_document_invalid_fields_total{{{SERVERS}}}[$__rate_interval])) * 60", "invalid"),
            query(f"sum(rate(mcp_health_document_cut_total{{{SERVERS}}}[$__rate_interval])) * 60", "beyond a limit"),
        ],
        unit="cpm",
        width=8,
    ),
]

DISCOVERY = [
    row("Discovery"),
    stat(
        "Sources",
        "Whether each file and URL that lists servers could be read when it was last tried.",
        [query(own("mcp_exporter_discovery_source_up"), "{{kind}} {{source}}", instant=True)],
        unit="none",
        steps=thresholds(RED, (1, GREEN)),
        mappings=SOURCE,
        width=8,
        no_value="no sources",
    ),
    graph(
        "Servers of sources",
        "Servers that each source lists, and those it keeps while it cannot be read.",
        [query(own("mcp_exporter_discovery_source_servers"), "{{kind}} {{source}}")],
        unit="short",
        decimals=0,
        width=8,
        no_value="no sources",
    ),
    graph(
        "Left out and outdated",
        "Servers that are left out because an earlier source has one of the name, and how long ago sources were read.",
        [
            query(own("mcp_exporter_duplicate_servers"), "left out"),
            query(f"time() - {own('mcp_exporter_discovery_last_success_timestamp_seconds')}", "{{kind}} {{source}}"),
        ],
        unit="s",
        overrides=[override("left out", ("unit", "short"), ("decimals", 0))],
        width=8,
        no_value="no sources",
    ),
]

COST = [
    row("Cost"),
    graph(
        "CPU",
        "Processor time, user and system; 1 is one core.",
        [query(f"rate({own('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}}")],
        unit="short",
        width=6,
    ),
    graph(
        "Memory",
        "Resident memory.",
        [query(own("process_resident_memory_bytes"), "{{instance}}")],
        unit="bytes",
        width=6,
    ),
    graph(
        "File descriptors",
        "Share of the file descriptors that the exporter may open. Each server needs about one.",
        [query(f"{own('process_open_fds')} / {own('process_max_fds')}", "{{instance}}")],
        unit="percentunit",
        steps=SHARE_STEPS,
        limits=True,
        soft_maximum=0.1,
        width=6,
    ),
    graph(
        "Scrape",
        "Time that Prometheus needs to read the exporter.",
        [query(own("scrape_duration_seconds"), "{{instance}}")],
        unit="s",
        width=6,
    ),
]


def build():
    return dashboard(
        "mcp-exporter",
        "MCP exporter",
        "The exporter itself: does it keep up, what does it cost, does it run what is configured.",
        variables=variables("mcp_exporter_build_info"),
        annotations=[
            annotation(
                "Alerts",
                'ALERTS{alertstate="firing", service="mcp", severity=~"critical|warning", job=~"$job", '
                'alertname=~"MCPExporter.*|MCPConfigReloadFailed|MCPPollsLate|MCPDiscoveryFailed|MCPDuplicateServers"}',
                RED, "{{alertname}}", "{{severity}}", "severity,alertname",
            ),
            annotation("Restarts", f"time() - {own('process_start_time_seconds')} < 120", BLUE,
                       "{{instance}} restarted", "", "instance"),
        ],
        links=[nav("Fleet", "mcp-fleet", "All servers", keep=("datasource", "job", "instance", "server"))],
        panels=NOW + POLLS + DISCOVERY + COST,
        time_from="now-3h",
    )
