#!/usr/bin/env python3
"""Sends alerts through a real Alertmanager with a copy of alertmanager.yml and looks at what reaches each channel.

The copy differs from the original in addresses, in the directory of the secrets, and in shorter times.
Usage: notify.py ALERTMANAGER_BINARY
"""

import datetime
import http.server
import json
import pathlib
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
BASE = (HERE / "runbooks/base-url").read_text().strip()
received = []  # (channel, what), in the order of arrival
lock = threading.Lock()


class Web(http.server.BaseHTTPRequestHandler):
    """PagerDuty, Slack and the dead man's switch: the path says which."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            received.append((self.path.strip("/"), {"body": body, "authorization": self.headers.get("Authorization")}))
        answer = b'{"status": "success", "message": "", "dedup_key": "x"}' if "pagerduty" in self.path else b"ok"
        self.send_response(202 if "pagerduty" in self.path else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a mail needs."""

    def handle(self):
        say = lambda line: self.wfile.write(line.encode() + b"\r\n")
        say("220 test")
        while line := self.rfile.readline().decode().strip():
            if line.upper().startswith("DATA"):
                say("354 go on")
                mail = []
                while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    mail.append(part)
                with lock:
                    received.append(("email", {"body": "\n".join(mail)}))
            say("221 bye" if line.upper() == "QUIT" else "250 ok")


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def configuration(directory, web, mail):
    secrets = directory / "secrets"
    secrets.mkdir()
    for name in ("pagerduty-routing-key", "search-pagerduty-routing-key", "smtp-password", "dead-mans-switch-token"):
        (secrets / name).write_text(name)
    (secrets / "slack-webhook-url").write_text(f"http://127.0.0.1:{web}/slack")
    text = (HERE / "alertmanager.yml").read_text()
    for old, new in (
        ("/etc/alertmanager/secrets", str(secrets)),
        ("https://deadmansswitch.example.com/mcp", f"http://127.0.0.1:{web}/dead-mans-switch"),
        ("smtp.example.com:587", f"127.0.0.1:{mail}"),
        ("group_wait: 10s", "group_wait: 1s"),
        ("\nglobal:\n", f"\nglobal:\n  pagerduty_url: http://127.0.0.1:{web}/pagerduty\n  smtp_require_tls: false\n"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    text = re.sub(r"group_interval: \S+", "group_interval: 2s", text)
    file = directory / "alertmanager.yml"
    file.write_text(text)
    return file


def alert(name, severity, server=None, **labels):
    labels |= {"alertname": name, "severity": severity, "service": "mcp", "job": labels.get("job", "mcp-exporter")}
    if server:
        labels["server"] = server
    return {
        "labels": labels,
        "annotations": {
            "summary": f"Summary of {name}",
            "description": f"{server} of {labels.get('env', 'production')} is in trouble.",
            "runbook_url": f"{BASE}/{name}.md",
        },
    }


class Alertmanager:
    def __init__(self, url):
        self.url = url

    def ready(self):
        for _ in range(100):
            try:
                return urllib.request.urlopen(self.url + "/-/ready").status == 200
            except OSError:
                time.sleep(0.1)
        raise SystemExit("Alertmanager did not start")

    def send(self, alerts, ends=None):
        body = json.dumps([a | ({"endsAt": ends.isoformat()} if ends else {}) for a in alerts]).encode()
        request = urllib.request.Request(self.url + "/api/v2/alerts", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()


def came(channel, part, settle=0.0):
    """What came through the channel and contains the text."""
    time.sleep(settle)
    with lock:
        return [w for c, w in received if c == channel and part in json.dumps(w["body"])]


def until(found, what):
    deadline = time.monotonic() + 15
    while not (result := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come: {what}; came: {json.dumps(received, indent=1)[:4000]}")
        time.sleep(0.1)
    return result


def scenario(am):
    down = [alert("MCPUnhealthy", "critical", "billing", location=where) for where in ("east", "west")]
    am.send(
        down
        + [
            alert("MCPDegraded", "warning", "billing"),  # inhibited
            alert("MCPDegraded", "warning", "billing", env="test"),  # its namesake elsewhere
            alert("MCPMemoryHigh", "warning", "search"),
            alert("MCPRestarted", "info", "search"),
            alert("MCPUnhealthy", "critical", "finder", team="search", namespace="teams"),
            alert("MCPDegraded", "warning", "finder2", team="search", namespace="teams"),
            alert("Watchdog", "none", job=""),
            # an outage of staging: silences the single alerts of staging, and nothing of production
            alert("MCPFleetOutage", "critical", env="staging"),
            alert("MCPUnhealthy", "critical", "s1", env="staging"),
            alert("MCPDegraded", "warning", "s2", env="staging"),
            # a shared database
            *(alert("MCPDatabaseDisconnected", "critical", f"db{n}", namespace="shop") for n in range(200)),
            *(alert("MCPHighLatency", "warning", f"db{n}", namespace="shop") for n in range(12)),
            # all exporters of a namespace
            alert("MCPExporterDown", "critical", namespace="gone"),
            alert("MCPExporterDown", "warning", namespace="gone"),
            alert("MCPServerVanished", "warning", "lost", namespace="gone"),
        ]
    )
    page = until(lambda: came("pagerduty", "billing of production"), "page")[0]["body"]
    assert page["routing_key"] == "pagerduty-routing-key", page
    assert page["event_action"] == "trigger" and page["payload"]["severity"] == "critical", page
    assert page["payload"]["summary"] == "Summary of MCPUnhealthy: billing, billing", page
    assert page["links"] == [{"href": f"{BASE}/MCPUnhealthy.md", "text": "Runbook"}], page
    assert "billing of production is in trouble." in page["payload"]["custom_details"]["firing"], page

    until(lambda: came("slack", "billing of test"), "warning of another environment")
    mail = until(lambda: came("email", "Summary of MCPMemoryHigh"), "e-mail")
    assert "Subject: firing: Summary of MCPMemoryHigh" in mail[0]["body"], mail
    sign = until(lambda: came("dead-mans-switch", "Watchdog"), "dead man's switch")[0]
    assert sign["authorization"] == "Bearer dead-mans-switch-token", sign
    databases = until(lambda: came("pagerduty", "Summary of MCPDatabaseDisconnected"), "page about the database")
    assert databases[0]["body"]["payload"]["summary"].endswith("and more (200)"), databases
    slow = until(lambda: came("slack", "Summary of MCPHighLatency"), "warning about the database")
    assert "and 2 more" in json.dumps(slow), slow
    until(lambda: came("pagerduty", "Summary of MCPExporterDown"), "page about the exporter")
    team = until(lambda: came("pagerduty", "finder of production"), "page of the team")[0]["body"]
    assert team["routing_key"] == "search-pagerduty-routing-key", team
    assert team["payload"]["summary"] == "Summary of MCPUnhealthy: finder", team
    until(lambda: came("slack", "finder2 of production"), "warning of the team")

    time.sleep(5)  # two more rounds: what was going to come has come
    assert len(came("pagerduty", "billing of production")) == 1, "two locations, or a repeated page"
    assert len(came("pagerduty", "MCPDatabaseDisconnected.md")) == 1, "one dead database is one page"
    assert not came("slack", "billing of production"), "MCPUnhealthy inhibits the others of its server"
    assert not came("slack", "s2 of staging"), "the fleet outage of staging inhibits the single ones"
    assert not came("pagerduty", "s1 of staging"), "the fleet outage of staging inhibits the single ones"
    assert came("pagerduty", "MCPFleetOutage.md"), "the fleet outage itself pages"
    assert not came("slack", "MCPExporterDown") and not came("slack", "lost of production"), "inhibited by MCPExporterDown"
    assert not any(came(c, "MCPRestarted") for c in ("slack", "pagerduty", "email", "dead-mans-switch")), "info is not told"

    am.send(down, ends=datetime.datetime.now(datetime.timezone.utc))
    resolved = lambda: [w for w in came("pagerduty", "") if w["body"]["event_action"] == "resolve"]
    assert until(resolved, "resolution")[0]["body"]["dedup_key"] == page["dedup_key"]
    assert len(resolved()) == 1, resolved()


def main():
    binary = sys.argv[1]
    web = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web))
    mail = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail))
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        port = free_port()
        log = open(directory / "log", "w+")
        process = subprocess.Popen(
            [binary, f"--config.file={configuration(directory, web, mail)}", f"--storage.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
            stdout=log, stderr=subprocess.STDOUT,
        )
        try:
            am = Alertmanager(f"http://127.0.0.1:{port}")
            am.ready()
            scenario(am)
            log.seek(0)
            problems = [line for line in log if "level=error" in line or "level=warn" in line]
            assert not problems, problems[:3]
        finally:
            process.terminate()
            process.wait(10)
    print("notifications: ok")


if __name__ == "__main__":
    main()
