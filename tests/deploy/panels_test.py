#!/usr/bin/env python3
"""A real Prometheus scrapes a loaded server, and every panel of the dashboards has data.

usage: panels_test.py SERVER CLIENT     the binaries kvpareto-server and kvpareto
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from load import Load, settings
from panels import METRIC, expressions, fill_in, metrics_of, query_range, read
from processes import PROMETHEUS_TOOLS, ROOT, http_get, prometheus, server

# Families that the dashboards are ready for, before every server has them. An expression that needs
# one counts as soon as the server under test exposes it.
PENDING = {
    "kvpareto_kv_cached_bytes", "kvpareto_prefix_cache_tokens_total", "kvpareto_evicted_bytes_total",
    "kvpareto_requantized_bytes_total",
}
ROUND_SECONDS = 8
ROUNDS = 10  # of load, at most: a busy machine needs more of them


def check_exposition(text: str) -> list:
    """What promtool has to say about the metrics, and which of them docs/metrics.md does not know."""
    lint = subprocess.run([PROMETHEUS_TOOLS / "promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    errors = [f"promtool check metrics: {line}" for line in lint.stderr.splitlines()]
    if lint.returncode != 0 and not errors:
        errors.append("promtool check metrics failed")
    documented = read(ROOT / "docs/metrics.md")
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE kvpareto_")}
    errors += [f"docs/metrics.md does not know {name}" for name in sorted(families)
               if f"`{name}`" not in documented]
    return errors


def check_panels(url: str, start: float) -> list:
    names = set(json.loads(http_get(f"{url}/api/v1/label/__name__/values"))["data"])
    exposed = {family for name in names for family in metrics_of(name)}
    errors, pending, checked = [], set(), 0
    for where, expression in expressions():
        absent = metrics_of(expression) & PENDING - exposed
        if absent:
            pending |= absent
            continue
        checked += 1
        query = fill_in(expression, interval="6s", time_range="20s")
        if not query_range(url, query, start, time.time(), 1):
            errors.append(f"no data in {where}: {query}")
    print(f"{checked} expressions checked, {len(errors)} without data; "
          f"not exposed yet: {', '.join(sorted(pending)) or 'nothing'}")
    return errors


def check_rules(url: str) -> list:
    groups = json.loads(http_get(f"{url}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    errors = [f"rule {rule['name']}: {rule.get('lastError')}" for rule in rules
              if rule["health"] != "ok"]
    return errors if rules else ["Prometheus has no rules"]


def check_names() -> list:
    """Every metric that a panel or a rule names is documented or pending."""
    documented = read(ROOT / "docs/metrics.md")
    texts = [expression for _, expression in expressions()]
    texts += [read(ROOT / "deploy/prometheus" / name) for name in ("recording.yaml", "alerts.yaml")]
    named = {family for text in texts for name in METRIC.findall(text) for family in metrics_of(name)}
    return [f"{name} is neither in docs/metrics.md nor pending" for name in sorted(named - PENDING)
            if f"`{name}`" not in documented]


def main() -> int:
    binary, client = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    errors = check_names()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with server(binary, folder, settings(folder)) as (address, metrics_url), \
                prometheus(folder, metrics_url.split("/")[2]) as url:
            load, start, missing = Load(client, address, folder), time.time(), ["never asked"]
            for _ in range(ROUNDS):
                load.run(ROUND_SECONDS, parallel=10)
                time.sleep(2)  # for one more scrape
                missing = check_panels(url, start)
                if not missing:
                    break
            errors += missing + check_exposition(http_get(metrics_url)) + check_rules(url)
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
