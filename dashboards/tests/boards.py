"""Reading the dashboards, and their queries as Grafana would send them."""

import dataclasses
import json
import pathlib
import re

import promql_parser
import yaml

DIRECTORY = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = DIRECTORY.parent
NAMES = ("fleet", "server", "exporter")

# What $__interval and its kin become where no time is known. Distinct, so that rules can tell them apart.
STAND_INS = {"__rate_interval": "61s", "__interval": "7s", "__range": "3601s"}


def load(name):
    return json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


BOARDS = {name: load(name) for name in NAMES}


@dataclasses.dataclass(frozen=True)
class Target:
    """One query of one panel."""

    board: str
    panel: dict = dataclasses.field(compare=False, hash=False)
    target: dict = dataclasses.field(compare=False, hash=False)

    @property
    def expr(self):
        return self.target["expr"]

    @property
    def place(self):
        return f"{self.board}: {self.panel['title']} {self.target['refId']}"


def panels(name):
    """All panels, without the headings."""
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]


def targets():
    return [Target(name, panel, target) for name in NAMES for panel in panels(name) for target in panel["targets"]]


def every_panel():
    return [(name, panel) for name in NAMES for panel in panels(name)]


def title(value):
    """A test's name: pytest calls it for each parameter."""
    if isinstance(value, Target):
        return value.place
    return value["title"] if isinstance(value, dict) else str(value)


def interpolate(text, values):
    """Variables replaced: `$name`, `${name}` and `${name:format}`. An unknown one is an error."""
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", lambda m: values[m[1] or m[2]], text)


def as_regex(values):
    """Several values of a variable, as Grafana's Prometheus data source writes them into `=~"..."`."""
    escaped = [re.sub(r"([\\^$*+?.()|\[\]{}])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def parse(expr):
    """The syntax tree, with the variables of selectors left as they are."""
    return promql_parser.parse(re.sub(r"\$(\w+)", lambda m: STAND_INS.get(m[1], m[0]), expr))


def nodes(node, parents=()):
    """The tree's nodes, each with its parents, the nearest last."""
    yield node, parents
    path = (*parents, node)
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str):
            yield from nodes(child, path)
    for argument in getattr(node, "args", None) or []:
        yield from nodes(argument, path)


def selectors(expr):
    """(metric, [matcher], parents) of each selector."""
    for node, parents in nodes(parse(expr)):
        if isinstance(node, promql_parser.VectorSelector):
            yield node.name, node.matchers.matchers, parents


def lint_exclusions():
    return yaml.safe_load((DIRECTORY / ".lint").read_text(encoding="utf-8"))["exclusions"]
