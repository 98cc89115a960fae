#!/usr/bin/env python3
"""Writes the rules of deploy/prometheus as objects of the Prometheus operator: for kustomize and for the
Helm chart.

usage: make_rules.py [--check]     --check writes nothing and fails if an object is not up to date
"""
import pathlib
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent / "deploy"
HEADER = "# Made by scripts/make_rules.py from deploy/prometheus.\n"


def groups() -> dict:
    """The groups of all rule files: the spec of a PrometheusRule."""
    found = []
    for name in ("recording.yaml", "alerts.yaml"):
        text = (DEPLOY / "prometheus" / name).read_text(encoding="utf-8")
        found += yaml.safe_load(text)["groups"]
    return {"groups": found}


def outputs() -> dict:
    rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
            "metadata": {"name": "kvpareto"}, "spec": groups()}
    return {DEPLOY / "kubernetes/components/monitoring/rules.yaml": rule,
            DEPLOY / "helm/kvpareto/files/rules.yaml": groups()}


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = 0
    for path, content in outputs().items():
        text = HEADER + yaml.safe_dump(content, sort_keys=False, width=110)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        print(f"{'not up to date' if check else 'written'}: {path.relative_to(DEPLOY.parent)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
