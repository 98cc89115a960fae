"""Renders what deploy/ has for Kubernetes, with kubectl's kustomize and Helm's engine."""
import pathlib
import subprocess
import sys

import helm_python
import yaml

from processes import ROOT

KUSTOMIZE = ROOT / "deploy/kubernetes"
CHART = ROOT / "deploy/helm/kvpareto"
KUBECTL = pathlib.Path(sys.executable).parent / "kubectl"


def kustomize(folder: pathlib.Path) -> list:
    """The objects that `kubectl kustomize FOLDER` prints."""
    text = subprocess.run([KUBECTL, "kustomize", folder], check=True, text=True,
                          capture_output=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def kustomize_with(overlay: str, components: list, folder: pathlib.Path) -> list:
    """An overlay with components, as a kustomization of one's own beside a copy of the tree says it."""
    subprocess.run(["cp", "-r", KUSTOMIZE, folder / "kubernetes"], check=True)
    (folder / "own").mkdir()
    (folder / "own/kustomization.yaml").write_text(yaml.safe_dump({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": "llm", "resources": [f"../kubernetes/overlays/{overlay}"],
        "components": [f"../kubernetes/components/{name}" for name in components]}),
        encoding="utf-8")
    return kustomize(folder / "own")


def helm(values: dict) -> list:
    """The objects of the chart with these values over its own."""
    chart = helm_python.Chart.load(CHART)
    rendered = chart.render(values, name="test", namespace="llm")
    return [document for name, text in sorted(rendered.items()) if name.endswith(".yaml")
            for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list, kind: str) -> list:
    return [item for item in objects if item["kind"] == kind]
