"""clients/python, installed as users install it, against a real server."""
import asyncio
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from real_server import ROOT, RealServer

folder = tempfile.TemporaryDirectory(prefix="kvpareto-client-")
unittest.addModuleCleanup(folder.cleanup)
# Build folders go to a copy, not to the tree.
source = pathlib.Path(folder.name) / "tree"
for part in ("clients/python", "proto"):
    shutil.copytree(ROOT / part, source / part)
installed = pathlib.Path(folder.name) / "installed"
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--no-build-isolation", "--target", installed, source / "clients/python"], check=True)
sys.path.insert(0, str(installed))

import kvpareto  # noqa: E402
import kvpareto.v1.inference_pb2 as inference  # noqa: E402
import kvpareto.v1.kv_pb2 as kv  # noqa: E402

PROMPT = "The capital of France is"
CHAT = [{"role": "user", "content": "What is the capital of France? One word."}]


class PythonClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(RealServer())

    def setUp(self):
        self.client = self.enterContext(kvpareto.Client(self.server.grpc_address))

    def test_generate(self):
        answer = self.client.generate(PROMPT, max_tokens=8)
        self.assertIn("Paris", answer.text)
        self.assertEqual(answer.finish_reason, "length")
        self.assertEqual(answer.usage.generated_tokens, 8)
        self.assertEqual(answer.plan.reason, kv.PLAN_REASON_DEFAULT)
        self.assertEqual(answer.model, "smollm2")

    def test_a_plan_that_changes(self):
        answer = kvpareto.Answer()
        answer.add(inference.GenerateResponse(plan={"kv": {"config_name": "before"}}))
        answer.add(inference.GenerateResponse(plan_changed={"config_name": "after"}))
        self.assertEqual(answer.plan.config_name, "after")

    def test_prompts_of_every_kind(self):
        self.assertIn("Paris", self.client.generate(CHAT, max_tokens=12).text)
        self.assertTrue(self.client.generate([504, 3575, 282], max_tokens=2).text)
        self.assertEqual(self.client.count_tokens([504, 3575, 282]), 3)

    def test_options(self):
        several = self.client.generate(PROMPT, max_tokens=6, n=3, temperature=1.0, seed=5, request_id="mine")
        self.assertEqual(len(several.choices), 3)
        self.assertEqual(several.request_id, "mine")
        again = self.client.generate(PROMPT, max_tokens=6, n=3, temperature=1.0, seed=5)
        self.assertEqual([c.text for c in several.choices], [c.text for c in again.choices])
        self.assertEqual(self.client.generate("1, 2, 3, 4,", max_tokens=20, stop=[" 7"]).text, " 5, 6,")
        with self.assertRaises(TypeError):
            self.client.generate(PROMPT, no_such_option=1)
        with self.assertRaises(ValueError):
            self.client.generate(PROMPT, objective="beauty")

    def test_stream_and_cancel(self):
        stream = self.client.stream(PROMPT, max_tokens=2000, ignore_eos=True)
        texts = iter(stream)
        next(texts), next(texts)
        stream.cancel()
        with self.assertRaises(kvpareto.Error) as caught:
            list(texts)
        self.assertEqual(caught.exception.code.name, "CANCELLED")
        self.assertIsNotNone(stream.answer.plan)
        self.assertIsNone(stream.answer.usage)

    def test_budget(self):
        whole = self.client.plan(PROMPT, max_tokens=500).kv
        budget = whole.predicted_peak_bytes // 2
        answer = self.client.generate(PROMPT, max_tokens=500, memory_budget_bytes=budget, ignore_eos=True)
        self.assertLessEqual(answer.usage.measured_peak_bytes, budget)
        self.assertEqual(answer.plan.reason, kv.PLAN_REASON_BUDGET)

    def test_errors(self):
        with self.assertRaises(kvpareto.Error) as caught:
            self.client.generate(PROMPT, memory_budget_bytes=1000, accuracy_target=1.0)
        self.assertEqual(caught.exception.reason, "NO_FEASIBLE_CONFIG")
        self.assertGreater(int(caught.exception.metadata["smallest_budget_bytes"]), 1000)
        with self.assertRaises(kvpareto.Error) as caught:
            self.client.generate(PROMPT, max_tokens=2000, ignore_eos=True, timeout=0.3)
        self.assertEqual(caught.exception.code.name, "DEADLINE_EXCEEDED")

    def test_facts(self):
        self.assertEqual([m.name for m in self.client.models()], ["smollm2"])
        self.assertGreater(len(self.client.pareto_table().rows), 3)
        self.assertEqual(self.client.memory().models[0].capacity_bytes, 256 << 20)

    def test_async(self):
        async def ask_many() -> list:
            async with kvpareto.AsyncClient(self.server.grpc_address) as client:
                answers = await asyncio.gather(*(client.generate(PROMPT, max_tokens=6) for _ in range(8)))
                plan = await client.plan(PROMPT)
                self.assertEqual(await client.count_tokens(PROMPT), plan.prompt_tokens)
                self.assertEqual(len(await client.models()), 1)
                self.assertTrue((await client.pareto_table()).rows)
                self.assertTrue((await client.memory()).models)
                with self.assertRaises(kvpareto.Error):
                    await client.generate("", max_tokens=1)
                return answers
        self.assertEqual({a.text for a in asyncio.run(ask_many())}, {self.client.generate(PROMPT, max_tokens=6).text})

    def test_example(self):
        example = ROOT / "clients/python/examples/budget.py"
        shown = subprocess.run([sys.executable, example, self.server.grpc_address], capture_output=True, text=True,
                               env={"PYTHONPATH": str(installed)}, check=True, timeout=120).stdout
        self.assertEqual(len(shown.splitlines()), 4)
        self.assertIn("accuracy", shown)


if __name__ == "__main__":
    unittest.main()
