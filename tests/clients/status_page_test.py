"""The metrics port: the status page, its data, and /metrics, while requests run."""
import re
import unittest

import httpx
import tritonclient.grpc as triton

from real_server import RealServer, wait_until
from triton_test import MODEL, PROMPT, vllm_inputs


class StatusPageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(RealServer())
        cls.http = cls.enterClassContext(httpx.Client(base_url=f"http://127.0.0.1:{cls.server.ports['serving metrics']}"))

    def status(self) -> dict:
        answer = self.http.get("/status.json")
        self.assertEqual(answer.headers["content-type"], "application/json")
        return answer.json()

    def test_the_page_needs_nothing_from_elsewhere(self):
        answer = self.http.get("/")
        self.assertEqual(answer.status_code, 200)
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
        self.assertEqual(re.findall(r"(?:src|href)=|url\(|@import|innerHTML|document\.write", answer.text), [])
        self.assertEqual(set(re.findall(r"https?://[^\"'\s]+", answer.text)), {"http://www.w3.org/2000/svg"})

    def test_running_requests_and_memory(self):
        client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))
        client.start_stream(lambda result, error: None)
        parameters = {"kv_objective": "memory"}
        client.async_stream_infer(MODEL, vllm_inputs(PROMPT, stream=True, max_tokens=2000, ignore_eos=True),
                                  request_id="<b>mine</b>", parameters=parameters)
        wait_until(lambda: any(r["generated_tokens"] > 2 for r in self.status()["requests"]), "nothing is generated")
        status = self.status()
        self.assertNotIn(PROMPT, str(status))
        (request,) = status["requests"]
        self.assertEqual((request["request_id"], request["max_tokens"]), ("<b>mine</b>", 2000))
        (model,) = status["models"]
        self.assertEqual((request["state"], model["running"], model["waiting"]), ("running", 1, 0))
        self.assertEqual(sum(c["allocated_bytes"] for c in model["configs"]) + model["cached_bytes"],
                         model["allocated_bytes"])
        (row,) = [r for r in model["table"] if r["name"] == request["config"]]
        self.assertGreaterEqual(row["chosen"], 1)
        self.assertLessEqual(model["allocated_bytes"], model["reserved_bytes"])
        client.stop_stream(cancel_requests=True)
        wait_until(lambda: not self.status()["requests"], "the request is still shown")
        wait_until(lambda: self.status()["models"][0]["running"] == 0, "the request still runs")

    def test_requests_that_wait(self):
        client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))
        client.start_stream(lambda result, error: None)
        self.addCleanup(client.stop_stream, cancel_requests=True)
        # Each takes over half of the memory.
        for number in range(3):
            client.async_stream_infer(MODEL, vllm_inputs(PROMPT, stream=True, max_tokens=7000, ignore_eos=True),
                                      request_id=f"large-{number}", parameters={"kv_config": "bf16-c128"})
        wait_until(lambda: len(self.status()["requests"]) == 3, "the requests are not shown")
        wait_until(lambda: self.status()["models"][0]["running"] == 1, "no request runs")
        status = self.status()
        self.assertEqual(sorted(r["state"] for r in status["requests"]), ["running", "waiting", "waiting"])
        self.assertEqual((status["models"][0]["running"], status["models"][0]["waiting"]), (1, 2))
        waiting = re.compile(r"^kvpareto_requests_waiting{.*} 2$", re.MULTILINE)
        wait_until(lambda: waiting.search(self.http.get("/metrics").text), "the metric does not show who waits")
        client.stop_stream(cancel_requests=True)
        wait_until(lambda: self.status()["models"][0]["waiting"] == 0, "they still wait")

    def test_a_request_that_becomes_smaller(self):
        client = self.enterContext(triton.InferenceServerClient(self.server.grpc_address))
        client.start_stream(lambda result, error: None)
        self.addCleanup(client.stop_stream, cancel_requests=True)

        def ask(request_id: str, **parameters) -> None:
            inputs = vllm_inputs(PROMPT * 60, stream=True, max_tokens=6000, ignore_eos=True)
            client.async_stream_infer(MODEL, inputs, request_id=request_id, parameters=parameters)

        def shown() -> dict:
            return {r["request_id"]: r for r in self.status()["requests"]}
        ask("yielding", kv_accuracy_target=0.5)
        wait_until(lambda: shown().get("yielding", {"generated_tokens": 0})["generated_tokens"] > 0, "nothing runs")
        before = shown()["yielding"]["config"]
        ask("rigid", kv_config="bf16-c128")
        wait_until(lambda: shown()["yielding"]["config"] != before, "no request has become smaller")
        client.stop_stream(cancel_requests=True)
        wait_until(lambda: not shown(), "they still run")

    def test_metrics_and_other_paths(self):
        answer = self.http.get("/metrics")
        self.assertIn("version=0.0.4", answer.headers["content-type"])
        self.assertIn("kvpareto_kv_capacity_bytes{model=\"smollm2\"}", answer.text)
        self.assertEqual(self.http.get("/no/such/path").status_code, 404)
        self.assertEqual(self.http.post("/metrics").status_code, 405)


if __name__ == "__main__":
    unittest.main()
