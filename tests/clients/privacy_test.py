"""What clients send and get appears in no log line, metric or status page; the log's level follows the file on SIGHUP."""
import json
import os
import signal
import unittest

import grpc
import httpx
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from real_server import RealServer, configuration, wait_until
from triton_test import vllm_inputs

CANARY = "zanzibar-heron-7391"
PROMPT = f"Repeat after me: {CANARY}. Once more: "


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field in Protobuf's encoding, of less than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


class PrivacyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.config = configuration(
            listen={"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
            log={"format": "json", "level": "debug"})
        cls.server = cls.enterClassContext(RealServer(cls.config))
        cls.metrics = f"http://127.0.0.1:{cls.server.ports['serving metrics']}"
        cls.openai = f"http://127.0.0.1:{cls.server.ports['serving http']}/v1"

    def events(self, name: str) -> list[dict]:
        return [e for e in map(json.loads, self.server.log) if e["event"] == name]

    def shown(self) -> str:
        """Everything that an operator gets to see."""
        pages = [httpx.get(self.metrics + path).text for path in ("/metrics", "/status.json", "/")]
        return "".join(self.server.log + pages)

    def chat(self, **body) -> httpx.Response:
        messages = [{"role": "user", "content": PROMPT}]
        return httpx.post(self.openai + "/chat/completions", timeout=60,
                          json={"model": "smollm2", "messages": messages, "max_tokens": 24, "temperature": 0} | body)

    def generate(self, message: bytes) -> grpc.StatusCode:
        with grpc.insecure_channel(self.server.grpc_address) as channel:
            call = channel.unary_stream("/kvpareto.v1.InferenceService/Generate")(message, timeout=60)
            try:
                list(call)
            except grpc.RpcError:
                pass
            return call.code()

    def infer(self, **options):
        with triton.InferenceServerClient(self.server.grpc_address) as client:
            return client.infer("smollm2", vllm_inputs(PROMPT, **options)).as_numpy("text_output")[0].decode()

    def test_neither_prompts_nor_answers_are_shown(self):
        answer = self.chat().json()["choices"][0]["message"]["content"]
        self.assertGreater(len(answer), 20)
        self.infer(max_tokens=4)
        stopping = field(5, b"\x08\x04")
        self.assertEqual(self.generate(field(3, field(1, PROMPT.encode())) + stopping), grpc.StatusCode.OK)
        # Refusals know the request too.
        refused = [self.chat(stop=[CANARY * 100]), self.chat(**{CANARY: 1}), self.chat(model=CANARY),
                   self.chat(temperature=CANARY), self.chat(kv={"config": CANARY})]
        self.assertEqual({r.status_code // 100 for r in refused}, {4})
        with self.assertRaises(InferenceServerException):
            self.infer(temperature=CANARY)
        not_utf8 = field(3, field(1, PROMPT.encode() + b"\xff"))
        self.assertEqual(self.generate(not_utf8), grpc.StatusCode.INVALID_ARGUMENT)
        wait_until(lambda: len(self.events("request finished")) >= 10, "requests are not logged")
        self.assertGreaterEqual(len(self.events("request accepted")), 3)
        shown = self.shown()
        self.assertNotIn(CANARY, shown)
        for piece in (answer[i:i + 16] for i in range(0, len(answer) - 16, 8)):
            self.assertNotIn(piece, shown)

    def test_every_request_has_an_id_in_the_log(self):
        answer = self.chat(max_tokens=1)
        ids = [e["request_id"] for e in self.events("request finished")]
        self.assertIn(answer.json()["id"].removeprefix("chatcmpl-"), ids)
        self.assertEqual(len(ids), len(set(ids)))

    def test_the_level_follows_the_file(self):
        def set_level(level: str):
            config = self.config | {"log": {"format": "json", "level": level}}
            (self.server.folder / "server.yaml").write_text(json.dumps(config))
            os.kill(self.server._process.pid, signal.SIGHUP)
        set_level("info")
        wait_until(lambda: self.events("log options reloaded"), "SIGHUP is not noticed")
        accepted = len(self.events("request accepted"))
        self.assertEqual(self.chat(max_tokens=1).status_code, 200)
        self.assertEqual(len(self.events("request accepted")), accepted)
        set_level("loud")
        wait_until(lambda: self.events("configuration not reloaded"), "a wrong level is not refused")
        set_level("debug")
        wait_until(lambda: len(self.events("log options reloaded")) == 2, "the second SIGHUP is not noticed")
        self.assertEqual(self.chat(max_tokens=1).status_code, 200)
        wait_until(lambda: len(self.events("request accepted")) > accepted, "debug events are not back")


if __name__ == "__main__":
    unittest.main()
