#!/usr/bin/env python3
"""deploy/compose.yaml fits the Compose specification, and what it mounts is there."""
import re
import unittest

import yaml
from compose_spec import PyCompose

from processes import ROOT

FILE = ROOT / "deploy/compose.yaml"


def interpolated() -> str:
    """With the defaults of its variables, as where none is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text(encoding="utf-8"))


class ComposeTest(unittest.TestCase):
    def setUp(self):
        self.services = yaml.safe_load(interpolated())["services"]

    def test_fits_the_specification(self):
        PyCompose.from_yaml(interpolated()).validate()
        with self.assertRaises(Exception):  # the parser is strict
            PyCompose.from_yaml(interpolated().replace("read_only:", "readonly:"))

    def test_mounts_what_is_there(self):
        volumes = yaml.safe_load(interpolated())["volumes"]
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                with self.subTest(service=name, source=source):
                    if source == "../models":  # scripts/fetch_model.sh makes it
                        continue
                    self.assertTrue(source in volumes or (FILE.parent / source).exists())

    def test_provisioning_finds_the_dashboards(self):
        provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/kvpareto.yaml")
                                  .read_text(encoding="utf-8"))["providers"][0]
        self.assertIn(f"./grafana/dashboards:{provider['options']['path']}:ro",
                      self.services["grafana"]["volumes"])

    def test_prometheus_scrapes_the_server(self):
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
        (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
        host, port = target.split(":")
        self.assertIn(host, self.services)
        listen = yaml.safe_load((ROOT / "docker/server.yaml").read_text(encoding="utf-8"))["listen"]
        self.assertEqual(listen["metrics"], f"0.0.0.0:{port}")

    def test_only_this_machine_reaches_the_ports(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                with self.subTest(service=name):
                    self.assertTrue(port.startswith("127.0.0.1:"))


if __name__ == "__main__":
    unittest.main()
