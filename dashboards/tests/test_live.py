"""Every expression against a real Prometheus that scrapes `mcp-exporter demo` and evaluates the shipped alert rules.

A second exporter polls a server that refuses connections, so that there are failures to show, and an alert. Nothing
sleeps for a fixed time: each query is repeated until it returns data, for two minutes at most.
"""

import contextlib
import http.server
import json
import math
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from boards import BOARDS, NAMES, REPOSITORY, as_regex, interpolate, targets, title

PATIENCE_SECONDS = 120
JOB, OTHER_JOB, DEMO, DEAD = "mcp-exporter", "other.job", ["billing", "orders", "search"], "dead"
# Expressions that cannot return data here, each with the reason. At most five.
WITHOUT_DATA = {}

SCRAPE_SECONDS = 2
TIMES = {"__interval": "5s", "__range": "300s", "__rate_interval": f"{4 * SCRAPE_SECONDS}s"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(found, what, process=None, log=None):
    """The first result that is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (result := found()):
        if process and process.poll() is not None:
            raise RuntimeError(f"{what}: ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.25)
    return result


def answers(url):
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False


@contextlib.contextmanager
def running(directory, name, command, ready):
    """A process with a port of its own; started again when somebody else took the port meanwhile."""
    log = directory / f"{name}.log"
    for attempt in range(3):
        port = free_port()
        with log.open("w") as out:
            process = subprocess.Popen(command(port), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=directory)
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}{ready}"), name, process, log)
            break
        except RuntimeError:
            if attempt == 2:
                raise
        except BaseException:
            process.kill()
            process.wait()
            raise
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# In the demo, no server has a certificate, a token or a door, none is worked on, none is found anywhere, and no catalog is
# reviewed or changes; no child of it has ended.
MADE_UP = f"""
mcp_maintenance{{server="{DEAD}"}} 1
mcp_tls_certificate_not_after_timestamp_seconds{{server="{DEAD}"}} 4e9
mcp_auth_token_expiry_timestamp_seconds{{server="{DEAD}"}} 2e9
mcp_last_poll_timestamp_seconds{{server="{DEAD}"}} 1.9e9
mcp_auth_enforced{{server="{DEAD}"}} 1
mcp_exporter_discovery_source_up{{kind="file_sd",source="/sd.json"}} 1
mcp_exporter_discovery_source_servers{{kind="file_sd",source="/sd.json"}} 2
mcp_exporter_discovery_last_success_timestamp_seconds{{kind="file_sd",source="/sd.json"}} 1.9e9
mcp_exporter_duplicate_servers 0
mcp_catalog_changes_total{{server="{DEAD}",kind="tools",change="added"}} 1
mcp_catalog_drift{{server="{DEAD}",kind="tools"}} 0
mcp_passthrough_samples{{server="{DEAD}"}} 12
mcp_passthrough_dropped_total{{server="{DEAD}",reason="bad_name"}} 1
mcp_passthrough_failures_total{{server="{DEAD}",reason="timeout"}} 1
mcp_canary_success{{server="{DEAD}",canary="find"}} 0
mcp_canary_failure_reason{{server="{DEAD}",canary="find",reason="unexpected"}} 1
mcp_canary_duration_seconds{{server="{DEAD}",canary="find"}} 0.1
mcp_canary_last_success_timestamp_seconds{{server="{DEAD}",canary="find"}} 1.9e9
mcp_process_last_exit_code{{server="{DEAD}"}} 0
mcp_process_last_exit_signal{{server="{DEAD}"}} 0
mcp_server_info{{server="{DEAD}",address="10.0.0.1:8000",name="x",version="1",protocol_version="2025-06-18",transport="streamable-http"}} 1
mcp_server_info{{server="{DEAD}",address="10.0.0.2:8000",name="x",version="2",protocol_version="2025-11-25",transport="streamable-http"}} 1
mcp_catalog_hash{{server="{DEAD}",address="10.0.0.1:8000",kind="tools"}} 1
mcp_catalog_hash{{server="{DEAD}",address="10.0.0.2:8000",kind="tools"}} 2
mcp_replicas{{server="{DEAD}"}} 2
"""


@contextlib.contextmanager
def serving(host, exposition):
    """Answers every request with the same exposition; gives the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(exposition.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer((host, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class Prometheus:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/api/v1/"
        self.began = time.time()

    def get(self, path, **parameters):
        url = self.base + path + "?" + urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters.get('query', path)}: {json.load(error)['error']}") from error

    def series(self, expr, instant):
        """Series with at least one number: [(labels, last number)]. Ranges begin with Prometheus itself: what an
        annotation marks may be a thing of the start."""
        now = time.time()
        if instant:
            result = self.get("query", query=expr, time=now)["result"]
            found = [(one["metric"], [one["value"]]) for one in result]
        else:
            result = self.get("query_range", query=expr, start=self.began, end=now, step=5)["result"]
            found = [(one["metric"], one["values"]) for one in result]
        numbers = [(labels, [float(v) for _, v in values if not math.isnan(float(v))]) for labels, values in found]
        return [(labels, values[-1]) for labels, values in numbers if values]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("live")
    exporter, where = os.environ["MCP_EXPORTER_BIN"], "127.0.0.1"
    rules = [REPOSITORY / "alerts" / name for name in ("recording.yml", "alerts.yml")]
    missing = [str(file) for file in rules if not file.exists()]
    assert not missing, f"alert rules are missing: {missing}"
    with contextlib.ExitStack() as stack:
        # Bound, and not listening: connections are refused, and nobody else gets the port.
        refusing = stack.enter_context(socket.socket())
        refusing.bind((where, 0))
        dead = f"{DEAD}=http://{where}:{refusing.getsockname()[1]}/mcp"
        made_up = stack.enter_context(serving(where, MADE_UP))
        start = lambda name, command, ready: stack.enter_context(running(directory, name, command, ready))
        demo = start("demo", lambda port: [exporter, "demo", f"--web.listen-address={where}:{port}"], "/-/healthy")
        second = start(
            "exporter", lambda port: [exporter, f"--target={dead}", f"--web.listen-address={where}:{port}"], "/-/healthy"
        )
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(file) for file in rules],
            "scrape_configs": [
                {"job_name": JOB, "static_configs": [{"targets": [f"{where}:{demo}", f"{where}:{second}"]}]},
                {"job_name": OTHER_JOB, "static_configs": [{"targets": [f"{where}:{made_up}"]}]},
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))
        port = start(
            "prometheus",
            lambda port: [
                os.environ.get("PROMETHEUS_BIN", "prometheus"),
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address={where}:{port}",
            ],
            "/-/ready",
        )
        yield Prometheus(port)


def choices(board):
    """What people choose: everything, and single things of everything there is."""
    servers = [*DEMO, DEAD]
    if board == "server":
        return [{"job": ".+", "instance": ".+", "server": server} for server in servers]
    return [
        {"job": ".+", "instance": ".+", "server": ".+"},
        {"job": as_regex([JOB, OTHER_JOB]), "instance": "127.+", "server": as_regex(servers)},
    ]


def wait_for_data(prometheus, expr, instant, choice):
    text = interpolate(expr, TIMES | choice)
    return until(lambda: prometheus.series(text, instant), f"data of {text}")


@pytest.mark.parametrize("target", targets(), ids=title)
def test_returns_data(prometheus, target):
    if target.place in WITHOUT_DATA:
        pytest.skip(WITHOUT_DATA[target.place])
    instant, found = target.target["instant"], []
    if target.board == "server":
        # Not every server reports everything: one of them is enough.
        texts = [interpolate(target.expr, TIMES | choice) for choice in choices("server")]
        found = until(lambda: [s for text in texts for s in prometheus.series(text, instant)], f"data of {texts}")
    else:
        for choice in choices(target.board):
            found = wait_for_data(prometheus, target.expr, instant, choice)
    # The legend's labels are there, but for `pod` and `address`, which only replicas have.
    if not target.target["format"] == "table":
        for label in set(re.findall(r"\{\{(\w+)\}\}", target.target["legendFormat"])) - {"pod", "address"}:
            assert all(labels.get(label) for labels, _ in found), f"series without {label}"


def test_few_are_without_data():
    places = {target.place for target in targets()}
    assert len(WITHOUT_DATA) <= 5 and set(WITHOUT_DATA) <= places


@pytest.mark.parametrize("name", NAMES)
def test_variables_offer_what_there_is(prometheus, name):
    offered = {"job": [JOB], "server": sorted([*DEMO, DEAD])}
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
        get = lambda: sorted(
            prometheus.get(f"label/{label}/values", **{"match[]": interpolate(selector, choices("fleet")[0])})
        )
        if label == "instance":
            until(lambda: len(get()) == 2, "two exporters")
        else:
            until(lambda: get() == offered[label], f"{label}: {offered[label]}")


@pytest.mark.parametrize("name", NAMES)
def test_annotations_mark(prometheus, name):
    for annotation in BOARDS[name]["annotations"]["list"]:
        if name == "exporter" and annotation["name"] == "Alerts":
            # The exporters are well: only that Prometheus takes the query.
            prometheus.series(interpolate(annotation["expr"], choices(name)[0]), False)
            continue
        texts = [interpolate(annotation["expr"], choice) for choice in choices(name)]
        until(lambda: [s for text in texts for s in prometheus.series(text, False)], f"data of {texts}")


def only(board, panel, letter="A"):
    [found] = [t for t in targets() if (t.board, t.panel["title"], t.target["refId"]) == (board, panel, letter)]
    return found


def test_the_fleet_adds_up(prometheus):
    def ask(panel, choice):
        found = prometheus.series(interpolate(only("fleet", panel).expr, TIMES | choice), True)
        return found[0][1] if found else None

    everything = choices("fleet")[0]
    until(lambda: ask("Servers", everything) == 4, "four servers")
    until(lambda: ask("Unhealthy", everything | {"server": DEAD}) == 1, "an unhealthy server")
    until(lambda: ask("Healthy", everything | {"server": DEAD}) == 0, "no healthy server")
    # Without an answering exporter nothing is calm: no 0, but no data.
    assert ask("Unhealthy", everything | {"job": "gone"}) is None


def test_the_table_has_one_line_a_server(prometheus):
    expr = interpolate(only("fleet", "Servers, worst first").expr, TIMES | choices("fleet")[0])

    def complete():
        lines = {labels["server"]: (labels.get("reason"), value) for labels, value in prometheus.series(expr, True)}
        return lines if len(lines) == 4 and lines.get("orders") == (None, 0.5) else None

    lines = until(complete, "four lines")
    assert lines[DEAD] == ("connect", 0)
    assert len(prometheus.series(expr, True)) == 4
