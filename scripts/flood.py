#!/usr/bin/env python3
"""Floods a real server from loopback and measures its peak of resident memory against the limit that its
configuration adds up to:

  weights + workspace + kv_capacity + request_memory of gRPC + request_memory of HTTP + 128 MiB for the program, its
  libraries, the tokenizer and the connections' own buffers

Floods: idle connections, half-sent requests (slow loris), messages of the largest size, of 100,000 fields, of huge
repeated fields, of token ids, values that JSON makes large, and many calls at once. Each is followed by a request that
must be served. Ends with status 1 when one is not, or when the peak exceeds the limit by more than a tenth.

Runs in the environment of scripts/python_env.sh.

usage: .cache/venv/bin/python scripts/flood.py --server BUILD/server/kvpareto-server [--request-memory MIB]
                                               [--connections 500]
"""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import sys
import time
import urllib.request

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
import grpc  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
from real_server import RealServer, configuration  # noqa: E402

MIB = 1 << 20
MESSAGE_BYTES = 4 * MIB - 64  # just below limits.max_request_bytes
OTHER_BYTES = 128 * MIB


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of Protobuf."""
    def varint(value):
        out = b""
        while value > 0x7f:
            out += bytes([value & 0x7f | 0x80])
            value >>= 7
        return out + bytes([value])
    return varint(number << 3 | 2) + varint(len(content)) + content


# GenerateRequest.prompt is field 3, its text, messages and token ids 1 to 3 (proto/kvpareto/v1/inference.proto).
def text_message() -> bytes:
    return field(3, field(1, b"x" * MESSAGE_BYTES))


def many_messages(count: int) -> bytes:
    return field(3, field(2, field(1, b"") * count))


def token_ids(count: int) -> bytes:
    return field(3, field(3, field(1, b"\x05" * count)))  # packed varints


def unknown_fields(count: int) -> bytes:
    return b"\xf8\x07\x01" * count  # field 127, a varint


class Target:
    """The server under flood."""

    def __init__(self, server: RealServer, request_memory: int):
        self.server = server
        self.request_memory = request_memory
        self.http_port = server.ports["serving http"]
        self.metrics = f"http://127.0.0.1:{server.ports['serving metrics']}/metrics"

    def peak_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.server.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024

    def limit_bytes(self) -> int:
        with urllib.request.urlopen(self.metrics, timeout=60) as response:
            text = response.read().decode()
        parts = re.findall(r"^kvpareto_(?:weights|workspace|kv_capacity)_bytes{[^}]*} (\S+)$", text, re.MULTILINE)
        return int(sum(map(float, parts))) + 2 * self.request_memory + OTHER_BYTES

    def connect(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=60)

    def complete(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except OSError:
            return 0  # the server has hung up
        finally:
            connection.close()

    def serves(self) -> bool:
        """A request of the usual size, while there is room for a connection again."""
        body = json.dumps({"prompt": "The capital of France is", "max_tokens": 2}).encode()
        return any(self.complete(body) == 200 or time.sleep(1) for _ in range(20))

    def generate(self, message: bytes) -> str:
        """The code of a Generate call on a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.server.grpc_address, options) as channel:
            call = channel.unary_stream("/kvpareto.v1.InferenceService/Generate")
            try:
                list(call(message, timeout=20))
                return "OK"
            except grpc.RpcError as error:
                return error.code().name


def idle_connections(target: Target, count: int) -> str:
    grpc_port = target.server.ports["serving"]
    with contextlib.ExitStack() as stack:
        for port in (grpc_port, target.http_port):
            for _ in range(count):
                stack.enter_context(target.connect(port))
        time.sleep(2)
    return f"{count} to each port"


def slow_loris(target: Target, count: int) -> str:
    """Requests that stop just before their end, as many as connections are taken."""
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {MESSAGE_BYTES}\r\n\r\n").encode()
    refused = 0
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(target.connect(target.http_port))
            connection.settimeout(0.05)  # beyond max_http_connections nobody reads
            try:
                connection.sendall(head)
                for _ in range(15):
                    connection.sendall(b"x" * (MESSAGE_BYTES // 16))
            except TimeoutError:
                break
            except OSError:
                refused += 1
        time.sleep(1)
    return f"{refused} of {count} refused"


def calls(target: Target, message: bytes, count: int) -> str:
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        codes = list(pool.map(lambda _: target.generate(message), range(count)))
    return str({code: codes.count(code) for code in sorted(set(codes))})


def posts(target: Target, body: bytes, count: int) -> str:
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        codes = list(pool.map(lambda _: target.complete(body), range(count)))
    return str({code: codes.count(code) for code in sorted(set(codes))})


def floods(connections: int) -> dict:
    nested = b'{"prompt":[' + b"{}," * (MESSAGE_BYTES // 3 - 8) + b"{}]}"
    return {
        "idle connections": lambda t: idle_connections(t, connections),
        "slow loris": lambda t: slow_loris(t, connections),
        "text of 4 MiB": lambda t: calls(t, text_message(), 128),
        "100,000 fields": lambda t: calls(t, many_messages(100_000), 128),
        "2,000,000 messages": lambda t: calls(t, many_messages(2_000_000), 32),
        "unknown fields": lambda t: calls(t, unknown_fields(MESSAGE_BYTES // 3), 32),
        "4,000,000 token ids": lambda t: calls(t, token_ids(4_000_000), 64),
        "JSON of 1,400,000 values": lambda t: posts(t, nested, 64),
        "JSON text of 4 MiB": lambda t: posts(t, b'{"prompt":"' + b"x" * (MESSAGE_BYTES - 20) + b'"}', 64),
        "2,000 calls": lambda t: calls(t, field(3, field(1, b"hello")) + field(5, b"\x08\x01"), 2000),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--request-memory", type=int, default=256, help="limits.request_memory in MiB")
    parser.add_argument("--connections", type=int, default=500)
    args = parser.parse_args()
    request_memory = args.request_memory * MIB
    os.environ["KVPARETO_SERVER_BINARY"] = args.server
    config = configuration(limits={"request_memory": str(request_memory), "http": {"read_timeout": "5s", "idle_timeout": "5s"}})
    config["listen"]["http"] = "127.0.0.1:0"
    config["models"][0]["kv_capacity"] = "128MiB"
    good = True
    with RealServer(config) as server:
        target = Target(server, request_memory)
        limit = target.limit_bytes()
        print(f"limit {limit / MIB:.0f} MiB, at the start {target.peak_bytes() / MIB:.0f} MiB")
        for name, flood in floods(args.connections).items():
            outcome = flood(target)
            served = target.serves()
            good = good and served
            print(f"{name:26} {outcome}; peak {target.peak_bytes() / MIB:.0f} MiB; then "
                  f"{'serves' if served else 'DOES NOT SERVE'}", flush=True)
        peak = target.peak_bytes()
    good = good and peak <= 1.1 * limit
    print(f"{'ok' if good else 'FAILED'}: peak {peak / MIB:.0f} MiB, {100 * peak / limit:.0f}% of the limit")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
