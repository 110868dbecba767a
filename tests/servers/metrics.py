"""A real FastMCP server with its own metrics: a registry of prometheus_client, offered as a resource.

`--types` chooses whose: `full` has every type that prometheus_client has, `conflict` has other types under the same names,
`json` answers as servers do that write JSON themselves. `--format` is the text of the resource.
"""

import argparse
import json
import os

os.environ["FASTMCP_CHECK_FOR_UPDATES"] = "off"
os.environ["FASTMCP_SHOW_SERVER_BANNER"] = "false"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--types", choices=["full", "conflict", "json"], required=True)
    parser.add_argument("--format", choices=["openmetrics", "text"], default="text")
    return parser.parse_args()


def full(registry):
    from prometheus_client import Counter, Enum, Gauge, Histogram, Info, Summary

    calls = Counter("app_calls", "Calls of tools.", ["tool"], registry=registry)
    calls.labels("search").inc(3)
    calls.labels('say "hi"\\').inc(4)
    Gauge("app_sessions", "Open sessions.", ["server"], registry=registry).labels("inner").set(5)
    seconds = Histogram("app_seconds", "Time of calls.", buckets=[0.1, 1, 1000000], registry=registry)
    seconds.observe(0.05)
    seconds.observe(30)
    size = Summary("app_bytes", "Size of answers.", registry=registry)
    size.observe(100)
    size.observe(200)
    Info("app_build", "What it was built from.", registry=registry).info({"version": "1.2.3"})
    Enum("app_state", "What it does.", states=["idle", "busy"], registry=registry).state("busy")
    Gauge("mcp_up", "Not for them to say.", registry=registry).set(0)
    # With the figures of the process, as in every server that uses the library's own registry.
    from prometheus_client import ProcessCollector

    ProcessCollector(registry=registry)


def conflict(registry):
    from prometheus_client import Counter, Gauge, Summary

    Gauge("app_calls_total", "A gauge, elsewhere a counter.", registry=registry).set(1)
    Summary("app_seconds", "A summary, elsewhere a histogram.", registry=registry).observe(1)
    Gauge("app_state", "A gauge, elsewhere a state set.", registry=registry).set(2)
    Counter("app_only_here", "Nobody else has it.", registry=registry).inc(6)


IN_JSON = {
    "counters": [{"name": "app_calls_total", "help_text": "In JSON.", "value": 7}],
    "gauges": [{"name": "app_sessions", "help": "In JSON.", "value": 8, "labels": {"kind": "json"}}],
    "histograms": [
        {
            "name": "app_seconds",
            "help_text": "In JSON.",
            "buckets": [{"bucket_le": 0.1, "count": 1}, {"bucket_le": "+Inf", "count": 2}],
            "count": 2,
            "sum": 0.5,
        }
    ],
}


def main():
    options = arguments()
    import uvicorn
    from fastmcp import FastMCP
    from prometheus_client import CollectorRegistry, exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    registry = CollectorRegistry()
    if options.types != "json":
        {"full": full, "conflict": conflict}[options.types](registry)
    server = FastMCP("metrics-server", version="1.0.0")

    def text() -> str:
        if options.types == "json":
            return json.dumps(IN_JSON)
        writer = openmetrics if options.format == "openmetrics" else exposition
        return writer.generate_latest(registry).decode()

    server.resource("health://status", mime_type="application/json")(lambda: '{"status": "healthy"}')
    server.resource("metrics://prometheus", name="metrics")(text)
    server.tool(name="metrics")(text)
    uvicorn.run(
        server.http_app(transport="http"),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
