"""The panels of the Grafana dashboards, and asking a Prometheus what they would show."""
import json
import math
import pathlib
import re
import urllib.parse

from processes import ROOT, http_get

DASHBOARDS = ROOT / "deploy/grafana/dashboards"
METRIC = re.compile(r"\bkvpareto_[a-z_]+")


def panels() -> list:
    """(dashboard, panel) of every panel, as Grafana reads them."""
    found = []
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        found += [(dashboard, panel) for panel in dashboard["panels"]]
    return found


def expressions() -> list:
    """(where, expression) of every query of every panel."""
    return [(f"{dashboard['title']}: {panel['title']}", target["expr"])
            for dashboard, panel in panels() for target in panel["targets"]]


def metrics_of(expression: str) -> set:
    """Names of the families: without the suffixes of a histogram's series."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(expression)}


def fill_in(expression: str, interval: str, time_range: str) -> str:
    """What Grafana sends when every variable says "all"."""
    for variable, value in (("$__rate_interval", interval), ("$__range", time_range),
                            ("$job", ".*"), ("$model", ".*"), ("$class", ".*")):
        expression = expression.replace(variable, value)
    if "$" in expression:
        raise ValueError(f"an unknown variable in {expression}")
    return expression


def query_range(url: str, expression: str, start: float, end: float, step: float) -> list:
    """[(labels, [(time, value)...])...], finite values only."""
    arguments = urllib.parse.urlencode(
        {"query": expression, "start": start, "end": end, "step": step})
    answer = json.loads(http_get(f"{url}/api/v1/query_range?{arguments}"))
    series = []
    for result in answer["data"]["result"]:
        points = [(float(t), float(v)) for t, v in result["values"]]
        points = [(t, v) for t, v in points if math.isfinite(v)]
        if points:
            series.append((result["metric"], points))
    return series


def read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8")
