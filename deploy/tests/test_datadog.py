"""Datadog's own check runs the shipped configuration against the demo."""

import json
import re
import unittest

from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

from common import DEPLOY, EXPORTER, exporter, get, load, run, wait_for


class Datadog(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        aggregator.reset()
        demo = exporter("demo")
        url = demo.__enter__()
        cls.addClassCleanup(demo.__exit__, None, None, None)
        # `billing` falls over after half a minute: by then everything was read.
        wait_for(lambda: get(f"{url}/metrics").count("\nmcp_up{") == 3)
        configuration = load(DEPLOY / "datadog/conf.yaml")
        cls.instance = dict(configuration["instances"][0], openmetrics_endpoint=f"{url}/metrics")
        cls.exposition = get(f"{url}/metrics")
        check = OpenMetricsBaseCheckV2("openmetrics", configuration["init_config"] or {}, [cls.instance])
        complaint = check.run()
        assert not complaint, complaint

    def value(self, name, *tags):
        found = [each for each in aggregator.metrics(name) if set(tags) <= set(each.tags)]
        self.assertEqual(len(found), 1, f"{name} {tags}: {found}")
        return found[0].value

    def test_names_values_and_tags(self):
        for server, team, status in (("search", "discovery", 1), ("orders", "shop", 0.5)):
            self.assertEqual(self.value("mcp.health.status", f"server:{server}", f"team:{team}"), status)
            self.assertEqual(self.value("mcp.up", f"server:{server}"), 1)
        self.assertAlmostEqual(self.value("mcp.pool.utilization", "server:orders"), 0.925, delta=0.05)
        self.assertGreater(self.value("mcp.database.latency", "server:orders"), 100, "in milliseconds")
        self.assertLess(self.value("mcp.database.latency", "server:search"), 100)
        self.assertGreater(self.value("mcp.pool.connections", "server:search", "state:active"), 0)
        self.assertEqual(self.value("mcp.check.status", "server:orders", "check:memory"), 0.5)
        self.assertGreaterEqual(self.value("mcp.polls.count", "server:orders", "result:degraded"), 1)
        self.assertEqual(self.value("mcp.server.info", "server:search", "server_name:search-mcp", "transport:streamable-http"), 1)
        self.assertEqual(self.value("mcp.exporter.servers"), 3)
        aggregator.assert_service_check("mcp.openmetrics.health", status=0, count=1)

    def test_no_tag_that_datadog_gives_another_meaning(self):
        tags = {tag.split(":")[0] for name in aggregator.metric_names for each in aggregator.metrics(name) for tag in each.tags}
        self.assertFalse(tags & {"host", "device", "source", "service", "env", "version", "name"} - {"source"}, tags)

    def test_all_that_is_exported_arrives(self):
        """Every family in the exposition has a name in the configuration, and a metric in Datadog."""
        families = set(re.findall(r"^# TYPE (\S+)", self.exposition, re.M))
        mapping = self.instance["metrics"][0]
        arrived = {re.sub(r"\.(count|sum|bucket)$", "", name) for name in aggregator.metric_names}
        for family in families - self.LEFT_OUT:
            name = family.removesuffix("_total")
            self.assertIn(name, mapping)
            self.assertIn(f"mcp.{mapping[name]}", arrived, family)

    # The same as another one, in another unit, or of no use there.
    LEFT_OUT = {"mcp_database_latency_seconds", "process_virtual_memory_bytes", "process_threads"}

    def test_every_metric_of_the_reference_is_mapped_or_left_out(self):
        reference = set(re.findall(r"`((?:mcp|process)_\w+)`", run(EXPORTER, "metrics-reference")))
        self.assertGreater(len(reference), 40)
        mapping = set(self.instance["metrics"][0])
        known = {name.removesuffix("_total") for name in reference - self.LEFT_OUT}
        self.assertEqual(mapping, known)
        self.assertFalse([name for name in mapping if name.endswith("_total")], "such a key collects nothing")
