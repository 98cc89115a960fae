#!/usr/bin/env python3
"""Drives a real server with mixed traffic for as long as told, checks it all the while, and prints a verdict.

Traffic: prompts of many lengths with budgets, accuracy targets, pinned configs and several continuations, over gRPC
(the command line) and HTTP (streams); clients that cancel, that are killed, that ask for what is refused; reloads of
the memory SLOs, good and bad ones.

Checked: every request ends as it should; greedy answers of a pinned config equal those of an idle server; in every
scrape the bytes by class and config add up to the arena's own count, and what is promised stays within the limit;
at the end nothing is left, and resident memory, descriptors and threads are what they were after the first minute's
part of the run.

usage: scripts/soak.py --server BUILD/server/kvpareto-server --client BUILD/clients/cli/kvpareto [--seconds 120]
                       [--clients 6] [--seed 1]

The model and table are those of scripts/fetch_model.sh and deploy/tables.
"""
import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
from real_server import RealServer, configuration  # noqa: E402

TEXT = (ROOT / "deploy/samples/northanger_abbey_prompt.txt").read_text(encoding="utf-8")
SLO = """schema_version: 1
models:
  - model: smollm2
    kv_limit: {limit}%
    classes:
      - {{name: default}}
      - {{name: steady, guaranteed_share: 0.3, requantizable: false}}
"""
PINNED = ("bf16-c128", "k8c-v8t-c128", "k4c-v4t-v.hadamard-r128-c128")
TIMEOUT_S = 300


class Failure(Exception):
    """An invariant that did not hold."""


def prompt_of(draw: random.Random, longest: int = 2500) -> str:
    begin = draw.randrange(max(1, len(TEXT) - longest))
    return TEXT[begin:begin + draw.randrange(20, longest)]


class Watch(threading.Thread):
    """Scrapes twice a second: what the metrics say about memory has to add up."""

    def __init__(self, url: str):
        super().__init__()
        self.url, self.scrapes, self.wrong, self.stopping = url, 0, [], threading.Event()

    def scrape(self) -> dict:
        """{(metric without prefix, labels): value}"""
        with urllib.request.urlopen(self.url, timeout=60) as response:
            text = response.read().decode()
        return {(name, labels or ""): float(value) for name, labels, value in
                re.findall(r"^kvpareto_(\w+)(?:\{([^}]*)\})? (\S+)$", text, re.MULTILINE)}

    def total(self, name: str, label: str = "") -> float:
        return sum(value for (metric, labels), value in self.scrape().items() if metric == name and label in labels)

    def run(self) -> None:
        while not self.stopping.wait(0.5):
            values = collections.Counter()
            for (name, _), value in self.scrape().items():
                values[name] += value
            self.scrapes += 1
            held = values["kv_allocated_bytes"] + values["kv_cached_bytes"]
            if held != values["kv_arena_allocated_bytes"]:
                self.wrong.append(f"classes and configs hold {held}, the arena {values['kv_arena_allocated_bytes']}")
            if values["kv_reserved_bytes"] > values["kv_capacity_bytes"]:
                self.wrong.append(f"{values['kv_reserved_bytes']} bytes are promised")


class Traffic:
    """What the clients do; thread-safe."""

    def __init__(self, args, server: RealServer):
        self.args, self.server = args, server
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.failures = []
        self.answers = {}  # (prompt, config): the greedy answer of an idle server

    def command(self, *flags: str) -> list:
        """Reads the prompt from standard input: as a word it could look like a flag."""
        return [self.args.client, "generate", "--server", self.server.grpc_address, "--file", "-", *flags]

    def grpc(self, prompt: str, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*flags), input=prompt, capture_output=True, text=True, timeout=TIMEOUT_S,
                              check=False)

    def greedy(self, prompt: str, config: str) -> str:
        done = self.grpc(prompt, "--config", config, "--class", "steady", "--max-tokens", "24")
        if done.returncode != 0:
            raise Failure(f"a greedy request failed: {done.stderr.strip()}")
        return done.stdout

    def ask_alone(self, draw: random.Random) -> None:
        for config in PINNED:
            for _ in range(3):
                prompt = prompt_of(draw)
                self.answers[prompt, config] = self.greedy(prompt, config)

    def check_greedy(self, draw: random.Random) -> None:
        (prompt, config), expected = draw.choice(sorted(self.answers.items()))
        if self.greedy(prompt, config) != expected:
            raise Failure(f"a greedy answer under {config} differs from that of an idle server")

    def any_options(self, draw: random.Random) -> None:
        flags = draw.choice([[], ["--accuracy", "0.97"], ["--accuracy", "0.9"], ["--objective", "memory"],
                             ["-n", "3", "--temperature", "1", "--seed", "7"], ["--budget", "64MiB"],
                             ["--temperature", "0.8", "--logprobs", "3"], ["--no-prefix-cache"]])
        done = self.grpc(prompt_of(draw), "--max-tokens", str(draw.randrange(1, 40)), *flags)
        if done.returncode != 0:
            raise Failure(f"{flags}: {done.stderr.strip()}")

    def refused(self, draw: random.Random) -> None:
        flags, reason = draw.choice([(["--budget", "1000"], "NO_FEASIBLE_CONFIG"), (["-n", "99"], "TOO_MANY_SEQUENCES"),
                                     (["--config", "none"], "KV_CONFIG_UNKNOWN"),
                                     (["--max-tokens", "99999"], "MAX_TOKENS_TOO_LARGE")])
        done = self.grpc("hello", *flags)
        if done.returncode == 0 or reason not in done.stderr:
            raise Failure(f"{flags} should give {reason}: {done.stderr.strip()}")

    def killed(self, draw: random.Random) -> None:
        """A client that ends while its request waits, is read or answered."""
        process = subprocess.Popen(self.command("--max-tokens", "500", "--ignore-eos"), stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.stdin.write(prompt_of(draw).encode())
        process.stdin.close()
        time.sleep(draw.uniform(0.05, 2))
        process.kill()
        process.wait()

    def http(self, draw: random.Random, leave: bool = False) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.ports["serving http"], timeout=TIMEOUT_S)
        try:
            body = {"prompt": prompt_of(draw), "max_tokens": draw.randrange(1, 40), "stream": True, "n": 1 + leave}
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if leave:
                response.readline()
                return
            events = response.read().decode()
            if response.status != 200 or not events.rstrip().endswith("[DONE]"):
                raise Failure(f"HTTP {response.status}: {events[-300:]}")
        finally:
            connection.close()

    def run(self, draw: random.Random, end: float) -> None:
        kinds = {"greedy": self.check_greedy, "options": self.any_options, "refused": self.refused,
                 "killed": self.killed, "http": self.http, "http left": lambda d: self.http(d, leave=True)}
        while time.monotonic() < end and not self.failures:
            kind = draw.choices(list(kinds), weights=[4, 5, 1, 2, 3, 1])[0]
            try:
                kinds[kind](draw)
            except (Failure, OSError, subprocess.TimeoutExpired, http.client.HTTPException) as error:
                with self.lock:
                    self.failures.append(f"{kind}: {error}")
            with self.lock:
                self.counts[kind] += 1


def arena_rss_kib(process: pathlib.Path) -> int:
    """Pages of the arena that have been touched: of the largest mapping."""
    smaps = (process / "smaps").read_text(encoding="utf-8")
    return max((int(size), int(rss)) for size, rss in
               re.findall(r"^Size:\s+(\d+) kB$.*?^Rss:\s+(\d+) kB$", smaps, re.MULTILINE | re.DOTALL))[1]


def state(server: RealServer, watch: Watch) -> dict:
    process = pathlib.Path(f"/proc/{server.pid}")
    status = (process / "status").read_text(encoding="utf-8")
    rss_kib, arena_kib = int(re.search(r"VmRSS:\s+(\d+)", status)[1]), arena_rss_kib(process)
    return {"RSS MiB": rss_kib // 1024,
            "without arena": (rss_kib - arena_kib) // 1024,
            "arena bytes": int(watch.total("kv_arena_allocated_bytes")),
            "of it cached": int(watch.total("kv_cached_bytes")),
            "descriptors": len(os.listdir(process / "fd")),
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1])}


def wait_until_idle(watch: Watch) -> None:
    give_up = time.monotonic() + 120
    while watch.total("requests_running") + watch.total("requests_waiting") > 0:
        if time.monotonic() > give_up:
            raise Failure("requests are left")
        time.sleep(0.2)
    time.sleep(1)  # connections close


def write_slo(folder: pathlib.Path, text: str) -> None:
    (folder / "slo.new").write_text(text, encoding="utf-8")
    (folder / "slo.new").rename(folder / "slo.yaml")


def reload_until(folder: pathlib.Path, end: float, draw: random.Random) -> int:
    reloads = 0
    while time.monotonic() < end:
        time.sleep(min(7, max(0.0, end - time.monotonic())))
        write_slo(folder, draw.choice([SLO.format(limit=100), SLO.format(limit=60), "schema_version: 7\n"]))
        reloads += 1
    write_slo(folder, SLO.format(limit=100))
    return reloads


def burst(args, server: RealServer, traffic: Traffic, seconds: float, seed: int) -> int:
    """Clients and reloads for that long; returns the number of reloads."""
    end = time.monotonic() + seconds
    clients = [threading.Thread(target=traffic.run, args=(random.Random(seed + i), end)) for i in range(args.clients)]
    for client in clients:
        client.start()
    reloads = reload_until(server.folder, end, random.Random(seed))
    for client in clients:
        client.join()
    return reloads


def check_growth(start: dict, end: dict) -> list:
    wrong = []
    if end["without arena"] > 1.1 * start["without arena"]:
        wrong.append("resident memory beside the arena grew by more than a tenth")
    # gRPC starts threads of its pool late; one a connection or request would be hundreds.
    if end["descriptors"] > start["descriptors"] + 4 or end["threads"] > start["threads"] + 12:
        wrong.append("descriptors or threads grew")
    if end["arena bytes"] != end["of it cached"]:
        wrong.append("the arena holds bytes of nobody")
    return wrong


def soak(args, server: RealServer) -> list:
    """What did not hold."""
    watch = Watch(f"http://127.0.0.1:{server.ports['serving metrics']}/metrics")
    traffic = Traffic(args, server)
    traffic.ask_alone(random.Random(args.seed))
    watch.start()
    try:
        # Every thread and buffer that the load needs is there after the first part.
        reloads = burst(args, server, traffic, args.seconds * 0.2, args.seed)
        wait_until_idle(watch)
        start = state(server, watch)
        reloads += burst(args, server, traffic, args.seconds * 0.8, args.seed + 1000)
        wait_until_idle(watch)
        end = state(server, watch)
    finally:
        watch.stopping.set()
        watch.join()
    print(f"requests {dict(traffic.counts)}, {sum(traffic.counts.values())} in all; {reloads} reloads; "
          f"{watch.scrapes} scrapes")
    for name in start:
        print(f"{name:14} {start[name]:>12} -> {end[name]:>12}")
    return traffic.failures + watch.wrong[:3] + check_growth(start, end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--client", required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ["KVPARETO_SERVER_BINARY"] = args.server
    config = configuration(slo="slo.yaml", service_classes=["default", "steady"])
    config["listen"]["http"] = "127.0.0.1:0"
    config["models"][0]["limits"] = {"max_queued_requests": 1000}
    server = RealServer(config)
    write_slo(server.folder, SLO.format(limit=100))
    with server:
        try:
            wrong = soak(args, server)
        except Failure as failure:
            wrong = [str(failure)]
    for failure in wrong:
        print(f"FAIL {failure}")
    print("FAILED" if wrong else "ok: every request ended as it should, and nothing was left behind")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
