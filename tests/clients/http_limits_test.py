"""What one client may take of the HTTP API: time, bytes, connections. Limits are short here, to be reached."""
import contextlib
import json
import socket
import time
import unittest

import httpx
import openai

from real_server import RealServer, configuration, wait_until

LIMITS = {"max_request_bytes": "64KiB", "max_metadata_bytes": "2KiB",
          "http": {"request_timeout": "2s", "read_timeout": "1s", "idle_timeout": "1500ms", "write_timeout": "1s",
                   "max_connections": 2}}
GET = b"GET /v1/models HTTP/1.1\r\n\r\n"


class HttpLimitsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        listen = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", "metrics": "127.0.0.1:0"}
        cls.server = cls.enterClassContext(RealServer(configuration(listen=listen, limits=LIMITS)))
        cls.port = cls.server.ports["serving http"]
        cls.url = f"http://127.0.0.1:{cls.port}/v1"

    def client(self) -> openai.OpenAI:
        return self.enterContext(openai.OpenAI(base_url=self.url, api_key="none", max_retries=0))

    def connect(self, **options) -> socket.socket:
        connection = socket.socket()
        self.enterContext(contextlib.closing(connection))
        for option, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.port))
        return connection

    @staticmethod
    def rest(connection: socket.socket) -> bytes:
        """What comes until the server closes the connection."""
        return b"".join(iter(lambda: connection.recv(65536), b""))

    @staticmethod
    def error(answer: bytes) -> dict:
        return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]

    def endless(self, **options):
        return self.client().completions.create(model="smollm2", prompt="Hello", max_tokens=7000,
                                                extra_body={"ignore_eos": True}, **options)

    def test_the_deadline_ends_an_answer(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            self.endless()
        self.assertEqual((caught.exception.status_code, caught.exception.code), (504, "DEADLINE_EXCEEDED"))
        self.assertGreater(int(caught.exception.body["metadata"]["generated_tokens"]), 0)
        chunks = self.endless(stream=True)
        self.assertTrue(next(iter(chunks)).choices)
        with self.assertRaises(openai.APIError) as caught:
            list(chunks)
        self.assertEqual(caught.exception.code, "DEADLINE_EXCEEDED")
        metrics = f"http://127.0.0.1:{self.server.ports['serving metrics']}/status.json"
        wait_until(lambda: httpx.get(metrics).json()["models"][0]["allocated_bytes"] == 0, "memory is still allocated")

    def test_a_request_that_does_not_arrive(self):
        connection = self.connect()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        answer = self.rest(connection)
        self.assertIn(b" 408 ", answer)
        self.assertEqual(self.error(answer)["code"], "READ_TIMEOUT")

    def test_bytes_one_by_one_gain_no_time(self):
        connection = self.connect()
        connection.settimeout(0.05)
        end = time.monotonic() + 15
        answer = b""
        while not answer and time.monotonic() < end:
            connection.sendall(b"G")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
        self.assertIn(b" 408 ", answer)

    def test_a_connection_without_requests_is_closed_without_words(self):
        self.assertEqual(self.rest(self.connect()), b"")
        connection = self.connect()
        connection.sendall(GET)
        self.assertEqual(self.rest(connection).count(b"HTTP/1.1"), 1)

    def test_answers_that_are_not_read(self):
        connection = self.connect(SO_RCVBUF=4096)
        with self.assertRaises(OSError):
            for _ in range(1000):
                connection.sendall(GET * 1000)

    def test_large_requests_are_answered_though_still_being_sent(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client().completions.create(model="smollm2", prompt="x" * (8 << 20))
        self.assertEqual((caught.exception.status_code, caught.exception.code), (413, "REQUEST_TOO_LARGE"))
        self.assertEqual(caught.exception.body["metadata"], {"max_bytes": "65536"})
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client().models.list(extra_headers={"x-large": "x" * 3000})
        self.assertEqual((caught.exception.status_code, caught.exception.code), (431, "HEADERS_TOO_LARGE"))

    def test_more_connections_wait_for_their_turn(self):
        first, second, third = self.connect(), self.connect(), self.connect()
        for connection in (first, second):
            connection.sendall(GET)
            self.assertIn(b" 200 ", connection.recv(65536))
        third.sendall(GET)
        third.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(20)
        self.assertIn(b" 200 ", third.recv(65536))


if __name__ == "__main__":
    unittest.main()
