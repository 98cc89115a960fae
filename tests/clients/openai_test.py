"""OpenAI's API with OpenAI's own Python client."""
import asyncio
import contextlib
import json
import socket
import unittest
import urllib.request

import openai

from real_server import RealServer, configuration, wait_until

MODEL = "smollm2"
PROMPT = "The capital of France is"
LONG_PROMPT = PROMPT * 20  # one block and some, as shorter ones take the same in all configs; too short to be cached
QUESTION = [{"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "What is the capital of France?"}]


class OpenAiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        listen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "metrics": "127.0.0.1:0"}
        cls.server = cls.enterClassContext(RealServer(configuration(listen=listen)))
        cls.port = cls.server.ports["serving http"]
        cls.url = f"http://127.0.0.1:{cls.port}/v1"
        cls.client = cls.enterClassContext(openai.OpenAI(base_url=cls.url, api_key="none", max_retries=0))

    def chat(self, **options):
        return self.client.chat.completions.create(
            **({"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12} | options))

    def complete(self, **options):
        return self.client.completions.create(
            **({"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_tokens": 8} | options))

    def allocated_bytes(self) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.ports['serving metrics']}/metrics") as page:
            lines = page.read().decode().splitlines()
        return sum(float(x.split()[-1]) for x in lines if x.startswith("kvpareto_kv_arena_allocated_bytes"))

    def wait_until_freed(self):
        wait_until(lambda: self.allocated_bytes() == 0, "memory is still allocated")

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).owned_by, "kvpareto")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("no-such-model")

    def test_chat(self):
        answer = self.chat()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreater(usage.prompt_tokens, 10)
        self.assertEqual(answer.object, "chat.completion")

    def test_content_in_parts(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": "What is the capital "},
                                              {"type": "text", "text": "of France?"}]}]
        whole = [{"role": "user", "content": "What is the capital of France?"}]
        self.assertEqual(self.chat(messages=parts).choices[0].message.content,
                         self.chat(messages=whole).choices[0].message.content)

    def test_completion(self):
        answer = self.complete()
        self.assertIn("Paris", answer.choices[0].text)
        self.assertEqual(answer.usage.completion_tokens, 8)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(self.complete(prompt=[PROMPT]).choices[0].text, answer.choices[0].text)
        self.assertEqual(self.complete(prompt=[504, 3575, 282], max_tokens=1).usage.prompt_tokens, 3)

    def test_streaming_gives_the_same_text(self):
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        whole = self.chat()
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage, whole.usage)
        self.assertEqual([c.usage for c in chunks[:-1]], [None] * (len(chunks) - 1))
        self.assertIn(chunks[-2].choices[0].finish_reason, ("stop", "length"))
        self.assertEqual(len({c.id for c in chunks}), 1)
        chunks = list(self.complete(stream=True))
        self.assertEqual("".join(c.choices[0].text for c in chunks), self.complete().choices[0].text)

    def test_stop_n_and_seed(self):
        self.assertEqual(self.complete(prompt="1, 2, 3, 4,", max_tokens=20, stop=[" 7"]).choices[0].text, " 5, 6,")
        several = self.complete(n=3, temperature=1, seed=11)
        self.assertEqual([c.index for c in several.choices], [0, 1, 2])
        self.assertEqual(several, self.complete(n=3, temperature=1, seed=11).model_copy(
            update={"id": several.id, "created": several.created}))
        texts = {0: "", 1: "", 2: ""}
        for chunk in self.complete(n=3, temperature=1, seed=11, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].text
        self.assertEqual(list(texts.values()), [c.text for c in several.choices])

    def test_max_completion_tokens(self):
        answer = self.client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=1)
        self.assertEqual(answer.usage.completion_tokens, 1)

    def test_logprobs(self):
        entries = self.chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertIn("Paris", "".join(e.token for e in entries))
        self.assertEqual({len(e.top_logprobs) for e in entries}, {2})
        self.assertTrue(all(e.logprob <= 0 and e.logprob == e.top_logprobs[0].logprob for e in entries))
        logprobs = self.complete(logprobs=1).choices[0].logprobs
        self.assertEqual("".join(logprobs.tokens), self.complete().choices[0].text)
        self.assertEqual(logprobs.text_offset[:2], [0, len(logprobs.tokens[0])])
        streamed = [c.choices[0].logprobs for c in self.complete(logprobs=1, stream=True)]
        self.assertEqual([t for entry in streamed if entry for t in entry.tokens], logprobs.tokens)

    def test_budget_and_accuracy(self):
        def config(**kv) -> dict:
            return self.complete(prompt=LONG_PROMPT, extra_body={"kv": kv}).kv
        best = config()
        self.assertLess(config(objective="memory")["predicted_peak_bytes"], best["predicted_peak_bytes"])
        self.assertEqual(config(config="bf16-c128")["config"], "bf16-c128")
        self.assertGreater(best["measured_peak_bytes"], 0)
        with self.assertRaises(openai.BadRequestError) as caught:
            config(memory_budget_bytes=1000, accuracy_target=1.0)
        self.assertEqual(caught.exception.code, "NO_FEASIBLE_CONFIG")
        self.assertIn("smallest_budget_bytes", caught.exception.body["metadata"])

    def test_errors(self):
        cases = [(openai.BadRequestError, "MAX_TOKENS_INVALID", {"max_tokens": 0}),
                 (openai.BadRequestError, "OPTION_UNKNOWN", {"extra_body": {"no_such_option": 1}}),
                 (openai.BadRequestError, "OPTION_UNSUPPORTED", {"response_format": {"type": "json_object"}}),
                 (openai.BadRequestError, "OPTION_INVALID", {"extra_body": {"temperature": "hot"}}),
                 (openai.BadRequestError, "INVALID_SAMPLING_PARAMS", {"top_p": 2}),
                 (openai.BadRequestError, "EMPTY_PROMPT", {"messages": []}),
                 (openai.BadRequestError, "SERVICE_CLASS_UNKNOWN", {"extra_body": {"kv": {"service_class": "x"}}}),
                 (openai.NotFoundError, "MODEL_NOT_FOUND", {"model": "no-such-model"})]
        for error, code, options in cases:
            for stream in (False, True):
                with self.subTest(code=code, stream=stream), self.assertRaises(error) as caught:
                    list(self.chat(stream=stream, **options))
                self.assertEqual(caught.exception.code, code)
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client.embeddings.create(model=MODEL, input="x")
        self.assertEqual(caught.exception.code, "METHOD_UNKNOWN")

    def test_closing_a_stream_frees_memory(self):
        stream = self.complete(max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        wait_until(lambda: self.allocated_bytes() > 0, "no memory is allocated")
        stream.close()
        self.wait_until_freed()

    def test_giving_up_on_an_answer_frees_memory(self):
        with self.assertRaises(openai.APITimeoutError):
            self.complete(max_tokens=2000, timeout=0.3, extra_body={"ignore_eos": True})
        self.wait_until_freed()

    def test_async_client(self):
        async def ask_many() -> list[str]:
            async with openai.AsyncOpenAI(base_url=self.url, api_key="none") as client:
                async def ask() -> str:
                    stream = await client.chat.completions.create(
                        model=MODEL, messages=QUESTION, temperature=0, max_tokens=8, stream=True)
                    return "".join([c.choices[0].delta.content or "" async for c in stream])
                return await asyncio.gather(*(ask() for _ in range(8)))
        texts = asyncio.run(ask_many())
        self.assertEqual(len(texts), 8)
        self.assertEqual(len(set(texts)), 1)

    def raw(self, data: bytes) -> bytes:
        """What the server answers to these bytes until it closes the connection."""
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.port), timeout=10)) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def test_malformed_http(self):
        self.assertIn(b" 400 ", self.raw(b"what is this\r\n\r\n"))
        self.assertIn(b" 431 ", self.raw(b"GET / HTTP/1.1\r\nx: " + b"a" * 70000 + b"\r\n\r\n"))
        self.assertIn(b" 413 ", self.raw(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"))
        body = b'{"prompt": "\xff"}'
        head = b"POST /v1/completions HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.assertIn(b"JSON_INVALID", self.raw(head + body))

    def test_pipelined_and_old_requests(self):
        two = b"GET /v1/models HTTP/1.1\r\n\r\nGET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.raw(two).count(b"HTTP/1.1 200"), 2)
        body = json.dumps({"prompt": PROMPT, "max_tokens": 2, "stream": True}).encode()
        head = b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.assertTrue(self.raw(head + body).endswith(b"data: [DONE]\n\n"))


if __name__ == "__main__":
    unittest.main()
