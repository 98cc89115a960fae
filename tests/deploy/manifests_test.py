#!/usr/bin/env python3
"""Every rendering of the kustomize tree and of the Helm chart fits the schemas, and keeps its promises.

usage: manifests_test.py SERVER     the binary kvpareto-server, which checks the configurations
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import helm_python
import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

from manifests import CHART, KUSTOMIZE, helm, kustomize, kustomize_with, of_kind
from processes import ROOT

SERVER = ""
KUBERNETES = ("1.30", "1.37")  # the oldest that the manifests are for, the newest known
CUSTOM = {"ScaledObject": ScaledObject, "ServiceMonitor": ServiceMonitor,
          "PrometheusRule": PrometheusRule}
HELM_VALUES = {
    "default": {},
    "slo": {"slo": {"schema_version": 1, "models": [{"model": "smollm2-135m", "kv_limit": "90%"}]}},
    "gpu": {"gpu": {"enabled": True}, "image": {"tag": "cuda"}},
    "hpa": {"autoscaling": {"kind": "hpa"}, "monitoring": {"enabled": True}},
    "keda": {"autoscaling": {"kind": "keda"}, "networkPolicy": {"enabled": False}},
    "tuner": {"tuner": {"enabled": True, "args": ["measure"]}, "models": {"existingClaim": "mine"},
              "tables": {"own.yaml": "rows: []\n"}},
    "tls": {"tls": {"secretName": "cert"}, "identities": {"secretName": "who"}},
    "mutual tls": {"tls": {"secretName": "cert", "mutual": True}, "autoscaling": {"kind": "hpa"}},
    "model image": {"models": {"image": "kvpareto-model:1"}, "nodeSelector": {"disk": "fast"},
                    "tolerations": [{"operator": "Exists"}]},
}


def all_renderings() -> dict:
    found = {f"kustomize {name}": kustomize(KUSTOMIZE / "overlays" / name) for name in ("cpu", "gpu")}
    for overlay, components in (("cpu", ["hpa", "monitoring", "tuner"]),
                                ("gpu", ["keda", "model-from-image", "tls"])):
        with tempfile.TemporaryDirectory() as folder:
            found[f"kustomize {overlay} with {', '.join(components)}"] = kustomize_with(
                overlay, components, pathlib.Path(folder))
    for name, values in HELM_VALUES.items():
        found[f"helm {name}"] = helm(values)
    return found


def labels_of_pods(item: dict) -> dict:
    return item["spec"]["template"].get("metadata", {}).get("labels", {})


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


class ManifestsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.renderings = all_renderings()

    def each(self, kind, check):
        """check(objects of the rendering, object) for every object of the kind."""
        for name, objects in self.renderings.items():
            for item in of_kind(objects, kind):
                with self.subTest(rendering=name, object=item["metadata"]["name"]):
                    check(objects, item)

    def each_pod(self, check):
        for kind in ("Deployment", "Job"):
            self.each(kind, lambda objects, item: check(objects, item["spec"]["template"]["spec"]))

    def test_fit_the_schemas(self):
        for name, objects in self.renderings.items():
            for item in objects:
                with self.subTest(rendering=name, kind=item["kind"]):
                    model = CUSTOM.get(item["kind"])
                    if model is None:
                        for version in KUBERNETES:
                            kubernetes_validate.validate(item, version, strict=True)
                    else:  # a field that the model does not know is lost on the way
                        self.assertEqual(model.model_validate(item).model_dump(
                            by_alias=True, exclude_unset=True, mode="json"), item)

    def test_pods_are_restricted(self):
        """The rules of the Pod Security Standard `restricted`, and a read-only root."""
        def check(_, pod):
            security = pod["securityContext"]
            self.assertTrue(security["runAsNonRoot"])
            self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse(pod["automountServiceAccountToken"])
            for container in pod["containers"] + pod.get("initContainers", []):
                own = container["securityContext"]
                self.assertFalse(own["allowPrivilegeEscalation"])
                self.assertTrue(own["readOnlyRootFilesystem"])
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertIn("memory", container["resources"]["limits"])

        self.each_pod(check)

    def test_volumes_and_claims_exist(self):
        def check(objects, pod):
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            for container in pod["containers"] + pod.get("initContainers", []):
                for mount in container["volumeMounts"]:
                    self.assertIn(mount["name"], volumes)
            claims = {item["metadata"]["name"] for item in of_kind(objects, "PersistentVolumeClaim")}
            maps = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
            for volume in volumes.values():
                if claim := volume.get("persistentVolumeClaim"):
                    self.assertIn(claim["claimName"], claims | {"mine"})
                source = volume.get("configMap", {"optional": True})
                if not source.get("optional"):
                    self.assertIn(source["name"], maps)

        self.each_pod(check)

    def test_selectors_find_the_server_and_nothing_else(self):
        def check(objects, service):
            selector = service["spec"]["selector"].items()
            matching = [item for kind in ("Deployment", "Job") for item in of_kind(objects, kind)
                        if selector <= labels_of_pods(item).items()]
            self.assertEqual([item["kind"] for item in matching], ["Deployment"])
            container = matching[0]["spec"]["template"]["spec"]["containers"][0]
            names = {port["name"] for port in container["ports"]}
            self.assertTrue({port["targetPort"] for port in service["spec"]["ports"]} <= names)

        self.each("Service", check)

    def test_probes_tell_alive_from_ready(self):
        def check(_, deployment):
            pod = deployment["spec"]["template"]["spec"]
            container = pod["containers"][0]
            live, ready = container["livenessProbe"], container["readinessProbe"]
            if any(volume["name"] == "tls" for volume in pod["volumes"]):
                self.assertEqual(live["httpGet"], {"path": "/livez", "port": "metrics"})
                self.assertEqual(ready["httpGet"], {"path": "/readyz", "port": "metrics"})
                self.assertNotIn("grpc", live | ready)
            else:
                self.assertEqual(live["grpc"], {"port": 50051})
                self.assertEqual(ready["grpc"]["service"], "kvpareto.v1.InferenceService")
            self.assertGreaterEqual(container["startupProbe"]["periodSeconds"] *
                                    container["startupProbe"]["failureThreshold"], 600)

        self.each("Deployment", check)

    def test_the_drain_fits_the_grace_period(self):
        def check(objects, deployment):
            pod = deployment["spec"]["template"]["spec"]
            drain = seconds(self.server_config(objects)["drain"]["timeout"])
            sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            # The endpoint is gone before the server refuses requests.
            self.assertGreater(sleep, pod["containers"][0]["readinessProbe"]["periodSeconds"])
            self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], sleep + drain + 10)

        self.each("Deployment", check)

    def test_files_of_the_configuration_are_mounted(self):
        def check(objects, deployment):
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            folders = {mount["mountPath"] for mount in container["volumeMounts"]}
            security = self.server_config(objects)["security"]
            files = list(security.get("tls", {}).values())
            files += [security["identities"]] if "identities" in security else []
            self.assertLessEqual({str(pathlib.PurePath(file).parent) for file in files}, folders)
            self.assertNotEqual("tls" in security, security.get("insecure", False))

        self.each("Deployment", check)

    def test_clients_reach_every_port_that_takes_requests(self):
        def check(objects, deployment):
            listen = self.server_config(objects)["listen"]
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            self.assertEqual(ports, {name: int(address.rsplit(":", 1)[1]) for name, address in listen.items()})
            (service,) = [item for item in of_kind(objects, "Service") if item["spec"].get("clusterIP") != "None"]
            self.assertEqual({port["name"]: port["port"] for port in service["spec"]["ports"]}, ports)
            for policy in of_kind(objects, "NetworkPolicy"):
                open_ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
                self.assertEqual(open_ports, set(ports))

        self.each("Deployment", check)

    def test_the_server_accepts_the_configurations(self):
        def check(objects, _):
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                yaml.safe_dump(self.server_config(objects), file)
                file.flush()
                run = subprocess.run([SERVER, "--check", f"--config={file.name}"], text=True,
                                     capture_output=True, check=False)
                self.assertEqual(run.returncode, 0, run.stderr)

        self.each("Deployment", check)

    def test_slos_fit_their_schema_and_the_configuration(self):
        schema = json.loads((ROOT / "deploy/slo.schema.json").read_text(encoding="utf-8"))

        def check(objects, config):
            if "slo.yaml" not in config["data"]:
                return
            slo = yaml.safe_load(config["data"]["slo.yaml"])
            jsonschema.validate(slo, schema)
            server = self.server_config(objects)
            self.assertEqual(server["slo"], "/slo/slo.yaml")
            self.assertLessEqual({model["model"] for model in slo["models"]},
                                 {model["name"] for model in server["models"]})
            self.assertLessEqual({item["name"] for model in slo["models"]
                                  for item in model.get("classes", [])}, set(server["service_classes"]))

        self.each("ConfigMap", check)

    @staticmethod
    def server_config(objects: list) -> dict:
        configs = [item["data"]["server.yaml"] for item in of_kind(objects, "ConfigMap")
                   if "server.yaml" in item["data"]]
        return yaml.safe_load(configs[0])


class ChartTest(unittest.TestCase):
    def test_lints(self):
        report = helm_python.lint(str(CHART), strict=True)
        self.assertEqual([m for m in report["messages"] if m["severity"] > 1], [])

    def test_versions_are_the_projects(self):
        project = re.search(r"VERSION (\S+) ", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
        self.assertEqual(chart["appVersion"], project[1])

    def test_wrong_values_are_refused(self):
        for values in ({"autoscaling": {"kind": "magic"}}, {"replicas": "two"}, {"replica": 2},
                       {"config": {"models": []}}, {"config": {"listen": {"grpc": "x"}}},
                       {"tuner": {"enabled": True}}, {"tls": {"secret": "x"}}):
            with self.subTest(values=values), self.assertRaises(helm_python.HelmError):
                helm(values)


if __name__ == "__main__":
    SERVER = sys.argv.pop(1)
    unittest.main()
