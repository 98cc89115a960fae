"""Whose class a call is: named by the request, or by the call's metadata or headers, in every API."""
import sys
import unittest
import urllib.request

import grpc
import httpx
import tritonclient.grpc as triton

from real_server import ROOT, RealServer, configuration, wait_until
from triton_test import MODEL, PROMPT, vllm_inputs

sys.path.insert(0, str(ROOT / "proto"))
inference, services = grpc.protos_and_services("kvpareto/v1/inference.proto")

# The class decides the config: the smallest of the table, or bf16.
SLO = """schema_version: 1
models:
  - model: smollm2
    objective: memory
    classes:
      - name: default
      - name: gold
        accuracy_floor: 1.0
"""
# Planned to be long enough for encoded blocks; ends with the first token.
MAX_TOKENS, STOP = 500, ["Paris"]
GOLD = {"x-kvpareto-class": "gold"}
UNKNOWN = {"x-kvpareto-class": "no-such-class"}


class ServiceClassTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        listen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "metrics": "127.0.0.1:0"}
        server = RealServer(configuration(listen=listen, service_classes=["default", "gold"], slo="slo.yaml"))
        (server.folder / "slo.yaml").write_text(SLO, encoding="utf-8")
        cls.server = cls.enterClassContext(server)
        cls.stub = services.InferenceServiceStub(cls.enterClassContext(grpc.insecure_channel(server.grpc_address)))

    def plan(self, service_class: str = "", metadata: dict | None = None) -> str:
        """The config that Plan names."""
        request = inference.PlanRequest(request=inference.GenerateRequest(
            prompt=inference.Prompt(text=PROMPT), service_class=service_class))
        return self.stub.Plan(request, metadata=list((metadata or {}).items()), timeout=60).kv.config_name

    def generate(self, metadata: dict) -> str:
        request = inference.GenerateRequest(prompt=inference.Prompt(text=PROMPT),
                                            stopping={"max_tokens": MAX_TOKENS, "stop_strings": STOP})
        responses = list(self.stub.Generate(request, metadata=list(metadata.items()), timeout=60))
        return responses[0].plan.kv.config_name

    def complete(self, headers: dict, **kv) -> httpx.Response:
        return httpx.post(f"http://127.0.0.1:{self.server.ports['serving http']}/v1/completions", headers=headers,
                          json={"prompt": PROMPT, "max_tokens": MAX_TOKENS, "stop": STOP, "kv": kv}, timeout=60)

    def finished(self, service_class: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.ports['serving metrics']}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines
                   if line.startswith("kvpareto_requests_total{") and f'class="{service_class}"' in line)

    def wait_for_gold(self, requests: float) -> None:
        """They are counted when they end, after their clients know."""
        wait_until(lambda: self.finished("gold") >= requests, "the class has not been counted")
        self.assertEqual(self.finished("gold"), requests)

    def test_plan(self):
        small = self.plan()
        self.assertNotIn("bf16", small)
        self.assertIn("bf16", self.plan("gold"))
        self.assertIn("bf16", self.plan(metadata=GOLD))
        self.assertEqual(self.plan("default", GOLD), small)
        with self.assertRaises(grpc.RpcError) as caught:
            self.plan(metadata=UNKNOWN)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_generate(self):
        before = self.finished("gold")
        self.assertIn("bf16", self.generate(GOLD))
        self.assertNotIn("bf16", self.generate({}))
        self.wait_for_gold(before + 1)

    def test_http(self):
        before = self.finished("gold")
        self.assertIn("bf16", self.complete(GOLD).json()["kv"]["config"])
        self.assertNotIn("bf16", self.complete({}).json()["kv"]["config"])
        self.assertNotIn("bf16", self.complete(GOLD, service_class="default").json()["kv"]["config"])
        self.wait_for_gold(before + 1)
        refused = self.complete(UNKNOWN)
        self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (400, "SERVICE_CLASS_UNKNOWN"))

    def test_open_inference(self):
        before = self.finished("gold")
        client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))
        client.infer(MODEL, vllm_inputs(PROMPT, max_tokens=1), headers=GOLD, client_timeout=60)
        self.wait_for_gold(before + 1)


if __name__ == "__main__":
    unittest.main()
