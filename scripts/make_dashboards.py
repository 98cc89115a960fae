#!/usr/bin/env python3
"""Writes the Grafana dashboards, deploy/grafana/dashboards/*.json, from deploy/grafana/panels/*.yaml.

usage: make_dashboards.py [--check]     --check writes nothing and fails if a dashboard is not up to date
"""
import json
import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PANELS = ROOT / "deploy/grafana/panels"
DASHBOARDS = ROOT / "deploy/grafana/dashboards"

COLUMNS = 24  # of Grafana's grid
HEIGHT = {"stat": 5, "gauge": 5, "table": 7}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name: str, label: str, metric: str) -> dict:
    """A choice of values of `label`, all of them at first."""
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "refresh": 2,
        "definition": f"label_values({metric}, {label})",
        "query": {"query": f"label_values({metric}, {label})", "refId": "variable"},
        "includeAll": True, "multi": True, "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


VARIABLES = [
    {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
    variable("job", "job", "kvpareto_build_info"),
    variable("model", "model", "kvpareto_model_info"),
    variable("class", "class", "kvpareto_requests_running"),
]


def thresholds(panel: dict) -> dict:
    """Green up to the first of the panel's thresholds, {colour: value}."""
    steps = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value}
              for color, value in panel.get("thresholds", {}).items()]
    return {"mode": "absolute", "steps": steps}


def visualization(panel: dict, kind: str) -> dict:
    """Type, options and field defaults of a kind of panel."""
    defaults = {"unit": panel.get("unit", "short"), "thresholds": thresholds(panel), "min": 0}
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options: dict = {}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 30 if panel.get("stack") else 5, "lineWidth": 2,
                              "showPoints": "never",
                              "stacking": {"mode": "normal" if panel.get("stack") else "none"}}
        options = {"legend": {"displayMode": "table", "placement": "bottom",
                              "calcs": ["lastNotNull", "max"]},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    elif kind in ("stat", "gauge"):
        options = {"reduceOptions": reduce, "textMode": panel.get("text", "auto")}
    elif kind == "bars":
        kind, options = "bargauge", {"reduceOptions": reduce, "orientation": "horizontal",
                                     "displayMode": "basic"}
    elif kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": panel.get("unit", "short")}}
    if panel.get("unit") == "percentunit" and kind == "gauge":
        defaults["max"] = 1
    return {"type": kind, "options": options,
            "fieldConfig": {"defaults": defaults, "overrides": []}}


def target(query: dict, index: int, kind: str) -> dict:
    instant = kind in ("table", "bars")
    formats = {"table": "table", "heatmap": "heatmap"}
    return {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query["expr"],
            "legendFormat": query.get("legend", ""), "instant": instant, "range": not instant,
            "format": formats.get(kind, "time_series")}


def dashboard(source: dict) -> dict:
    panels, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(source["panels"], start=1):
        kind = panel.get("kind", "timeseries")
        width, height = panel.get("width", 12), HEIGHT.get(kind, 8)
        if x + width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        panels.append({
            "id": number, "title": panel["title"], "description": panel["description"],
            "gridPos": {"x": x, "y": y, "w": width, "h": height}, "datasource": DATASOURCE,
            **visualization(panel, kind),
            "targets": [target(query, i, kind) for i, query in enumerate(panel["queries"])]})
        x, row_height = x + width, max(row_height, height)
    return {
        "uid": source["uid"], "title": source["title"], "description": source["description"],
        "tags": ["kvpareto"], "schemaVersion": 39, "version": 1, "editable": True,
        "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "panels": panels,
        "templating": {"list": VARIABLES}, "annotations": {"list": []},
        "links": [{"title": "KV Pareto", "type": "dashboards", "tags": ["kvpareto"],
                   "asDropdown": True, "keepTime": True, "includeVars": True}]}


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for source in sorted(PANELS.glob("*.yaml")):
        text = json.dumps(dashboard(yaml.safe_load(source.read_text(encoding="utf-8"))), indent=1)
        out = DASHBOARDS / f"{source.stem}.json"
        if out.exists() and out.read_text(encoding="utf-8") == text + "\n":
            continue
        stale.append(out.name)
        if not check:
            out.write_text(text + "\n", encoding="utf-8")
    print(f"dashboards {'not up to date' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
