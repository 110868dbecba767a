"""promtool reads every Prometheus configuration, and runs its relabelling over targets that we make up."""

import json
import re
import shutil
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from common import DEPLOY, ROOT, load, run

CONFIGURATIONS = DEPLOY / "prometheus"


class Promtool(unittest.TestCase):
    def setUp(self):
        place = TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = Path(place.name)
        (self.place / "rules").mkdir()
        for name in ("alerts.yml", "recording.yml", "standalone.yml"):
            shutil.copy(ROOT / "alerts" / name, self.place / "rules")

    def check(self, configuration):
        """With its rule files; the text goes through as it is."""
        path = self.place / "prometheus.yml"
        path.write_text(configuration)
        return run("promtool", "check", "config", path)

    def discover(self, configuration, job, targets):
        """The labels of those targets that are kept, where discovery found `targets`: a list of labels each."""
        # Not through a file: promtool 2.42 panics when its time is over while it looks for changes of one.
        groups = [{"targets": [labels.pop("__address__")], "labels": labels} for labels in map(dict, targets)]
        for scrape in configuration["scrape_configs"]:
            for key in [key for key in scrape if key.endswith("_sd_configs")]:
                del scrape[key]
            scrape["static_configs"] = groups
        self.check(yaml.safe_dump(configuration))
        found = run("promtool", "check", "service-discovery", "--timeout=2s", self.place / "prometheus.yml", job)
        # Promtool tells them in another order each time.
        return sorted((each["labels"] for each in json.loads(found) if each["labels"]), key=lambda labels: sorted(labels.items()))

    def test_the_daemon(self):
        self.assertIn("3 rule files found", self.check((CONFIGURATIONS / "daemon.yml").read_text()))

    def test_compose(self):
        text = (DEPLOY / "compose/prometheus.yml").read_text()
        self.check(text)
        self.assertEqual(load(DEPLOY / "compose/prometheus.yml")["global"]["scrape_interval"], "10s")

    def test_every_file_scrapes_at_ten_seconds_under_the_jobs_of_the_rules(self):
        for path in CONFIGURATIONS.glob("*.yml"):
            configuration = load(path)
            self.assertEqual(configuration["global"]["scrape_interval"], "10s", path)
            for scrape in configuration["scrape_configs"]:
                # The alerts take `mcp-exporter.*` for exporters.
                through_probe = scrape["job_name"].startswith("mcp-probe")
                self.assertTrue(through_probe or scrape["job_name"] in ("mcp-exporter", "mcp-exporter-sidecar"), path)
                if scrape.get("metrics_path") == "/probe" or "http_sd_configs" in scrape:
                    self.assertTrue(through_probe, path)

    def test_kubernetes(self):
        """Debian's promtool is built without Kubernetes: its part is checked by hand, the rest with made-up pods."""
        configuration = load(CONFIGURATIONS / "kubernetes.yml")
        for scrape in configuration["scrape_configs"]:
            for discovery in scrape["kubernetes_sd_configs"]:
                self.assertLessEqual(set(discovery), {"role", "selectors"})
                self.assertIn(discovery["role"], ("pod", "endpointslice", "service"))
                for selector in discovery.get("selectors", []):
                    self.assertEqual(set(selector), {"role", "label"})
                    self.assertEqual(selector["role"], discovery["role"])

        pod = {
            "__address__": "10.0.0.1:10627", "__meta_kubernetes_namespace": "shop", "__meta_kubernetes_pod_name": "billing-7f",
            "__meta_kubernetes_pod_phase": "Running", "__meta_kubernetes_pod_container_port_name": "mcp-metrics",
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "billing",
        }
        others = [
            {"__address__": "10.0.0.1:8000", "__meta_kubernetes_pod_container_port_name": "http"},
            {"__address__": "10.0.0.2:10627", "__meta_kubernetes_pod_phase": "Succeeded"},
            {
                "__address__": "10.0.0.3:10627", "__meta_kubernetes_pod_label_app_kubernetes_io_name": "mcp-exporter",
                "__meta_kubernetes_pod_label_app_kubernetes_io_component": "exporter",
            },
        ]
        found = self.discover(load(CONFIGURATIONS / "kubernetes.yml"), "mcp-exporter-sidecar", [pod, *({**pod, **other} for other in others)])
        self.assertEqual(found, [{
            **{name: found[0][name] for name in found[0] if name.startswith("__")},
            "instance": "10.0.0.1:10627", "job": "mcp-exporter-sidecar", "namespace": "shop", "pod": "billing-7f",
        }])

        slice_ = {"__meta_kubernetes_namespace": "mcp-exporter", "__meta_kubernetes_endpointslice_port_name": "mcp-metrics"}
        found = self.discover(load(CONFIGURATIONS / "kubernetes.yml"), "mcp-exporter", [
            {"__address__": "10.0.0.3:10627", **slice_},
            {"__address__": "10.0.0.3:9999", **slice_, "__meta_kubernetes_endpointslice_port_name": "other"},
        ])
        self.assertEqual([each["__address__"] for each in found], ["10.0.0.3:10627"])
        self.assertEqual({name for name in found[0] if not name.startswith("__")}, {"instance", "job", "namespace"})

    def test_kubernetes_services(self):
        """One target for an annotated Service, at the annotated port; the exporter is who is scraped."""
        service = {
            "__address__": "billing.shop.svc:8000", "__meta_kubernetes_namespace": "shop",
            "__meta_kubernetes_service_name": "billing", "__meta_kubernetes_service_port_number": "8000",
            "__meta_kubernetes_service_annotation_mcp_exporter_port": "8000",
        }
        others = [
            {"__meta_kubernetes_service_port_number": "9090"},
            {"__meta_kubernetes_service_annotation_mcp_exporter_port": ""},
            {"__meta_kubernetes_service_annotation_mcp_exporter_port": "http"},
        ]
        path = {"__meta_kubernetes_service_name": "search", "__meta_kubernetes_service_annotation_mcp_exporter_path": "/sse"}
        targets = [service, {**service, **path}, *({**service, **other} for other in others)]
        found = self.discover(load(CONFIGURATIONS / "kubernetes.yml"), "mcp-probe", targets)
        self.assertEqual([{
            name: each[name] for name in ("__address__", "__metrics_path__", "__param_target", "server", "namespace", "instance")
        } for each in found], [{
            "__address__": "mcp-exporter.mcp-exporter.svc:10627", "__metrics_path__": "/probe", "__param_target": url,
            "server": server, "namespace": "shop", "instance": url,
        } for server, url in [("billing", "http://billing.shop.svc:8000/mcp"), ("search", "http://search.shop.svc:8000/sse")]])

    def test_probe(self):
        self.check((CONFIGURATIONS / "probe.yml").read_text())
        configuration = load(CONFIGURATIONS / "probe.yml")
        # Alone: a URL is no address for the other jobs, which are given the same targets here.
        job = next(each for each in configuration["scrape_configs"] if each["job_name"] == "mcp-probe")
        configuration["scrape_configs"] = [job]
        urls = job["static_configs"][0]["targets"]
        found = self.discover(configuration, "mcp-probe", [{"__address__": url} for url in urls])
        self.assertEqual({(each["__address__"], each["__param_target"], each["instance"]) for each in found},
                         {("mcp-exporter:10627", url, url) for url in urls})
        self.assertEqual({each["server"] for each in found}, {url.split("://")[1] for url in urls})
        found = self.discover(load(CONFIGURATIONS / "probe.yml"), "mcp-probe-configured", [self.of_sd("orders")])
        self.assertEqual([(each["instance"], each["server"], each["team"], each["__metrics_path__"]) for each in found],
                         [("orders", "orders", "x", "/probe")])

    @staticmethod
    def of_sd(server):
        """As /sd lists it."""
        return {"__address__": "mcp-exporter:10627", "__metrics_path__": "/probe", "__param_target": server, "server": server, "team": "x"}

    def test_shards_of_servers(self):
        """Each server is asked for by one shard, through the same exporter."""
        text = (CONFIGURATIONS / "sharded-probe.yml").read_text()
        command = re.search(r"sed '(s/.*/)' sharded-probe.yml", text)[1]
        servers = [f"server-{n}" for n in range(60)]
        kept = []
        for shard in range(2):
            changed = run("sed", command.replace("/1  #", f"/{shard}  #"), CONFIGURATIONS / "sharded-probe.yml")
            self.assertEqual(changed.count(f"{shard}  # SHARD\n"), 2)
            found = self.discover(yaml.safe_load(changed), "mcp-probe", map(self.of_sd, servers))
            self.assertGreater(len(found), 15)
            self.assertEqual({each["__address__"] for each in found}, {"mcp-exporter:10627"})
            self.assertTrue(all(each["instance"] == each["server"] == each["__param_target"] for each in found))
            kept += [each["server"] for each in found]
        self.assertEqual(sorted(kept), sorted(servers))

    def test_shards(self):
        """Each exporter is scraped by one shard, and each shard has some."""
        text = (CONFIGURATIONS / "sharded.yml").read_text()
        command = re.search(r"sed '(s/.*/)' sharded.yml", text)[1]
        exporters = [f"mcp-exporter-{n}:10627" for n in range(60)]
        kept = []
        for shard in range(3):
            changed = run("sed", command.replace("/1  #", f"/{shard}  #"), CONFIGURATIONS / "sharded.yml")
            self.assertEqual(changed.count(f"{shard}  # SHARD\n"), 2)
            found = self.discover(yaml.safe_load(changed), "mcp-exporter", [{"__address__": each} for each in exporters])
            self.assertGreater(len(found), 5)
            kept += [each["instance"] for each in found]
        self.assertEqual(sorted(kept), sorted(exporters))


class Collector(unittest.TestCase):
    """No OpenTelemetry Collector could be had where this was written. Prometheus' part goes through promtool, the rest is
    compared with the components' keys as documented in their READMEs and config.go (collector 0.147)."""

    KEYS = {
        "receivers/prometheus": {"config"},
        "processors/memory_limiter": {"check_interval", "limit_percentage", "spike_limit_percentage"},
        "processors/batch": {"timeout", "send_batch_size", "send_batch_max_size"},
        "exporters/otlphttp": {"endpoint", "headers", "tls", "compression", "timeout"},
    }

    def test_the_scrape_configuration(self):
        text = yaml.safe_dump(load(DEPLOY / "opentelemetry/collector.yaml")["receivers"]["prometheus"]["config"])
        text = re.sub(r"\$\{env:\w+:-([^}]*)\}", r"\1", text)
        self.assertNotIn("$", text.replace("$$", ""), "a dollar sign that the collector would take for a variable")
        with TemporaryDirectory() as place:
            path = Path(place) / "prometheus.yml"
            path.write_text(text.replace("$$", "$"))
            run("promtool", "check", "config", path)

    def test_the_pipeline(self):
        collector = load(DEPLOY / "opentelemetry/collector.yaml")
        self.assertEqual(set(collector), {"receivers", "processors", "exporters", "service"})
        self.assertEqual(set(collector["service"]["pipelines"]), {"metrics"})
        for kind, names in collector["service"]["pipelines"]["metrics"].items():
            self.assertEqual(set(names), set(collector[kind]), "what is defined is used, and the other way round")
            for name in names:
                self.assertLessEqual(set(collector[kind][name] or {}), self.KEYS[f"{kind}/{name}"])
        self.assertEqual(collector["service"]["pipelines"]["metrics"]["processors"][0], "memory_limiter", "it comes first")
