"""Reads an exposition with Prometheus' own Python parser. Prints the samples as JSON, so that formats can be compared."""

import json
import sys
from pathlib import Path

import prometheus_client.openmetrics.parser
import prometheus_client.parser

PARSERS = {"openmetrics": prometheus_client.openmetrics.parser, "text": prometheus_client.parser}

families = PARSERS[sys.argv[1]].text_string_to_metric_families(Path(sys.argv[2]).read_text())
samples = [
    [sample.name, sorted(sample.labels.items()), str(sample.value)] for family in families for sample in family.samples
]
json.dump(sorted(samples), sys.stdout)
