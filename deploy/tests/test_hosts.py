"""systemd, the image and the compose stack: what their own tools, or the best linters to be had, say."""

import fnmatch
import json
import re
import shutil
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from common import DEPLOY, ENV, EXPORTER, ROOT, exporter, free_port, get, load, process, run, wait_for

UNIT = DEPLOY / "systemd/mcp-exporter.service"
SOCKET = DEPLOY / "systemd/mcp-exporter.socket"
STDIO = DEPLOY / "systemd/mcp-exporter.service.d/stdio.conf"


class Systemd(unittest.TestCase):
    def unit(self, *parts):
        """The unit with its drop-ins, in a place of its own; the program is one that this machine has."""
        place = TemporaryDirectory()
        self.addCleanup(place.cleanup)
        path = Path(place.name) / UNIT.name
        path.write_text(UNIT.read_text().replace("/usr/local/bin/mcp-exporter", EXPORTER))
        for part in parts:
            (Path(place.name) / f"{UNIT.name}.d").mkdir(exist_ok=True)
            shutil.copy(part, Path(place.name) / f"{UNIT.name}.d")
        return path

    def test_verify(self):
        for parts in ((), (STDIO,)):
            with self.subTest(parts):
                self.assertEqual(run("systemd-analyze", "verify", "--man=no", self.unit(*parts)), "")

    def test_socket(self):
        unit = self.unit()
        path = shutil.copy(SOCKET, unit.parent)
        self.assertEqual(run("systemd-analyze", "verify", "--man=no", path, unit), "")
        # The service of the socket is the one of its name, and what its first lines say to set is a variable of ours.
        self.assertEqual(SOCKET.stem, UNIT.stem)
        variable = re.search(r"(MCP_EXPORTER_\w+)=true in /etc/default/mcp-exporter", SOCKET.read_text())[1]
        self.assertIn(f"[env: {variable}]", run(EXPORTER, "--help"))

    def test_exposure(self):
        # The drop-in is looser on purpose, and still within the limit.
        for parts, most in (((), 1.1), ((STDIO,), 1.4)):
            said = run("systemd-analyze", "security", "--offline=true", "--threshold=20", self.unit(*parts))
            self.assertLessEqual(float(re.search(r"exposure level for \S+ ([\d.]+)", said)[1]), most)

    def test_the_exporter_takes_the_command(self):
        command = re.search(r"^ExecStart=\S+ (.*)$", UNIT.read_text(), re.M)[1]
        with TemporaryDirectory() as place:
            path = Path(place) / "mcp-exporter.yaml"
            path.write_text("servers: [{url: 'http://localhost:1/mcp'}]\n")
            with exporter(command.replace("/etc/mcp-exporter/mcp-exporter.yaml", str(path))) as url:
                self.assertIn("mcp_exporter_servers 1", get(f"{url}/metrics"))
        self.assertRegex(UNIT.read_text(), r"(?m)^ExecReload=/bin/kill -HUP \$MAINPID$")


class Image(unittest.TestCase):
    DOCKERFILE = DEPLOY / "Dockerfile"

    def test_hadolint(self):
        for path in (self.DOCKERFILE, DEPLOY / "compose/demo-server/Dockerfile"):
            self.assertEqual(run(ENV / "venv/bin/hadolint", path), "")
        with self.assertRaisesRegex(AssertionError, "DL3002"):
            run(ENV / "venv/bin/hadolint", "-", input=self.DOCKERFILE.read_text().replace("USER 65532:65532", "USER root"))

    def test_what_the_image_promises(self):
        text = re.sub(r"\\\n", " ", self.DOCKERFILE.read_text())
        stages = {}
        for line in text.splitlines():
            if match := re.match(r"FROM \S+ AS (\w+)$", line):
                stage = stages.setdefault(match[1], [])
            elif line and not line.startswith("#") and stages:
                stage.append(line)
        self.assertEqual(list(stages)[-1], "exporter", "the default is the last one")
        for name in ("exporter", "stdio"):
            lines = stages[name]
            self.assertIn("USER 65532:65532", lines)
            self.assertIn("EXPOSE 10627", lines)
            self.assertTrue(any(re.search(r'HEALTHCHECK .* CMD \["/usr/local/bin/mcp-exporter", "healthcheck"\]$', line) for line in lines))
            self.assertTrue(any(line.startswith('ENTRYPOINT ["') for line in lines))
        self.assertFalse([line for line in stages["exporter"] if line.startswith("RUN")], "there is no shell to run it")

    def test_the_context_is_all_that_the_build_needs(self):
        """What .dockerignore lets through, by its own rules as far as they are used here, is a package that cargo can read."""
        ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
        self.assertEqual(ignore[0], "*")
        allowed = [line[1:] for line in ignore[1:]]
        for line in self.DOCKERFILE.read_text().splitlines():
            if match := re.match(r"COPY (?!--from)(.*) \S+$", line):
                for source in match[1].split():
                    self.assertTrue((ROOT / source).exists(), source)
                    self.assertTrue(any(fnmatch.fnmatch(source, each) for each in allowed), source)
        with TemporaryDirectory() as place:
            for each in allowed:
                copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
                copy(ROOT / each, Path(place) / each)
            package = json.loads(run("cargo", "metadata", "--no-deps", "--offline", "--format-version=1", cwd=place))["packages"][0]
            self.assertIn("mcp-exporter", [target["name"] for target in package["targets"]])
        for path in (ROOT / "src").rglob("*.rs"):
            for included in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', path.read_text()):
                inside = (path.parent / included).resolve()
                self.assertTrue(inside.is_relative_to(ROOT / "src"), f"{path} includes {included}, which the image has not")


class Compose(unittest.TestCase):
    FILE = DEPLOY / "compose.yaml"

    def test_schema_and_lint(self):
        """dclint, which contains the schema of the compose specification."""
        run(ENV / "node_modules/.bin/dclint", "--config", DEPLOY / "tests/dclint.json", "--max-warnings", "0", self.FILE)
        with TemporaryDirectory() as place:
            broken = Path(place) / "compose.yaml"
            broken.write_text(self.FILE.read_text().replace("restart: unless-stopped", "restarts: unless-stopped", 1))
            with self.assertRaisesRegex(AssertionError, "/services/.*additional properties"):
                run(ENV / "node_modules/.bin/dclint", "--config", DEPLOY / "tests/dclint.json", broken)

    def test_what_it_promises(self):
        services = load(self.FILE)["services"]
        self.assertEqual(set(services), {"exporter", "prometheus", "alertmanager", "grafana", "demo-server"})
        for name, service in services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name} {port}")
            if "build" not in service:
                self.assertRegex(service["image"], r":\$\{\w+:-v?\d+\.\d+\.\d+\}$", name)
            for volume in service.get("volumes", []):
                if volume.startswith("."):
                    self.assertTrue((DEPLOY / volume.split(":")[0]).exists(), f"{name}: {volume}")
                    self.assertTrue(volume.endswith(":ro"), f"{name}: {volume}")
        self.assertIn("--storage.tsdb.retention.time=30d", services["prometheus"]["command"])
        rules = [volume.split(":")[0] for volume in services["prometheus"]["volumes"] if "/alerts/" in volume]
        self.assertEqual(sorted(rules), sorted(f"../alerts/{name}.yml" for name in ("alerts", "recording", "standalone")))

    def test_grafana_gets_all_dashboards_where_the_provisioning_looks(self):
        volumes = load(self.FILE)["services"]["grafana"]["volumes"]
        provider = load(ROOT / "dashboards/provisioning/dashboards/mcp.yml")["providers"][0]["options"]["path"]
        mounted = {volume.split(":")[0]: volume.split(":")[1] for volume in volumes}
        for path in (ROOT / "dashboards").glob("*.json"):
            self.assertEqual(mounted.get(f"../dashboards/{path.name}"), f"{provider}/{path.name}")
        datasource = load(ROOT / "dashboards/provisioning/datasources/prometheus.yml")["datasources"][0]
        self.assertEqual(datasource["url"], "http://prometheus:9090")

    def test_secrets_have_the_names_that_alertmanager_reads(self):
        wanted = set(re.findall(r"/etc/alertmanager/secrets/([\w-]+)", (ROOT / "alerts/alertmanager.yml").read_text()))
        said = (DEPLOY / "compose/alertmanager-secrets/.gitignore").read_text()
        self.assertEqual(wanted, set(re.findall(r"[a-z]+(?:-[a-z]+)+", "".join(line for line in said.splitlines() if line.startswith("#")))))

    def test_the_exporter_reads_the_demo_server(self):
        """The stack's configuration against the stack's server, with the Host header that a container would send."""
        port = free_port()
        python = ENV / "demo-server/bin/python"
        configuration = (DEPLOY / "compose/exporter/mcp-exporter.yaml").read_text()
        self.assertIn("url: http://demo-server:8000/mcp", configuration)
        changed = configuration.replace(
            "url: http://demo-server:8000/mcp", f"url: http://127.0.0.1:{port}/mcp\n    headers: {{Host: 'demo-server:8000'}}"
        )
        with TemporaryDirectory() as place, process(python, DEPLOY / "compose/demo-server/server.py", env={"PORT": str(port)}):
            path = Path(place) / "mcp-exporter.yaml"
            path.write_text(changed)
            with exporter(env={"MCP_EXPORTER_CONFIG_FILE": str(path)}) as url:
                wait_for(lambda: 'mcp_health_status{server="demo",team="demo"} 1' in get(f"{url}/metrics"), 60)
                metrics = get(f"{url}/metrics")
        for name in ("mcp_pool_utilization", "mcp_database_latency_ms", "mcp_memory_utilization", "mcp_disk_free_bytes", "mcp_uptime_seconds"):
            self.assertIn(f'{name}{{server="demo"', metrics)
        self.assertIn('dialect="guide"', metrics)
