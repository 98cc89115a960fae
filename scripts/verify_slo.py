#!/usr/bin/env python3
"""Runs a server with a real model on loopback under memory SLOs and real load, and checks:

  overload   3 times as many requests with an accuracy target as fit: at least FACTOR times as many are held at
             once as bf16 could, each in a config that meets the target, none lost. What can be reached depends on
             the table: kvpareto slo check tells
  guarantee  a guaranteed class is admitted at once while burst traffic fills the rest
  requantize running streams are made smaller for others: they go on to their end, within their target
  reload     half the limit under load: what is promised falls under it within seconds, no admitted request fails
  fairness   while a long prompt is computed, 99% of a stream's tokens come within twice a chunk's step
  soak       random requests; in every scrape the bytes by class and config, and what is cached, add up to the
             arena's own count, and nothing is left at the end

usage: verify_slo.py --server BUILD/server/kvpareto-server --client BUILD/clients/cli/kvpareto --model MODEL.gguf
                     --table TABLE.yaml --text PROMPT_TEXT [--only overload,guarantee,...] [--requests 1000]
                     [--capacity 192MiB] [--prompt 4000] [--accuracy 0.97] [--factor 2.5]

The memory of requantize and reload is that of SmolLM2-135M. Prints one line per check and ends with status 1 if
one fails.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SLO = """schema_version: 1
models:
  - model: m
    kv_limit: {limit}%
    high_watermark: {high}
    low_watermark: {low}
    classes:
      - name: gold
        guaranteed_share: 0.3
        priority: 10
      - name: default
"""
CONFIG = """listen: {{grpc: "127.0.0.1:0", metrics: "127.0.0.1:0"}}
models:
  - name: m
    path: {model}
    table: {table}
    kv_capacity: {capacity}
    limits: {{max_running_sequences: 256, max_queued_requests: 1000}}
service_classes: [default, gold]
slo: slo.yaml
log: {{format: json}}
"""


class Server:
    """A server in a folder of its own; `with` stops it."""

    def __init__(self, args, folder, capacity=None, **slo):
        self.args, self.folder = args, pathlib.Path(folder)
        self.write_slo(**slo)
        (self.folder / "server.yaml").write_text(CONFIG.format(
            model=pathlib.Path(args.model).resolve(), table=pathlib.Path(args.table).resolve(),
            capacity=capacity or args.capacity))

    def write_slo(self, limit=100, high=0.6, low=0.5):
        new = self.folder / "slo.new"
        new.write_text(SLO.format(limit=limit, high=high, low=low))
        new.rename(self.folder / "slo.yaml")

    def __enter__(self):
        self.process = subprocess.Popen([self.args.server, "--config", self.folder / "server.yaml"],
                                        stderr=subprocess.PIPE, text=True)
        ports = {}
        for line in self.process.stderr:
            event = json.loads(line)
            if event.get("event", event.get("msg")) in ("serving", "serving metrics"):
                ports[event.get("event", event.get("msg"))] = event["port"]
            if len(ports) == 2:
                break
        self.address = f"127.0.0.1:{ports['serving']}"
        self.metrics_url = f"http://127.0.0.1:{ports['serving metrics']}/metrics"
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)

    def generate(self, prompt, max_tokens, *flags, stdout=subprocess.DEVNULL):
        return subprocess.Popen([self.args.client, "generate", "--server", self.address, "--max-tokens",
                                 str(max_tokens), "--ignore-eos", "--explain", *flags, prompt],
                                stdout=stdout, stderr=subprocess.PIPE, text=True)

    def wait_for(self, count, name, label=""):
        """Until a metric has reached `count`, ten minutes at most."""
        end = time.monotonic() + 600
        while total(self.scrape(), name, label) < count and time.monotonic() < end:
            time.sleep(0.05)

    def scrape(self):
        """{(metric, labels): value}"""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as response:
            text = response.read().decode()
        return {(name, labels or ""): float(value) for name, labels, value in
                re.findall(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", text, re.MULTILINE)}


def total(metrics, name, label=""):
    return sum(value for (metric, labels), value in metrics.items()
               if metric == "kvpareto_" + name and label in labels)


def check(name, ok, detail):
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {detail}", flush=True)
    return ok


def finish(processes):
    """How many failed, with the first message; and what the others say of themselves."""
    ended = [(p.communicate()[1], p.returncode) for p in processes]
    failed = [text for text, code in ended if code != 0]
    return len(failed), failed[0].strip()[-200:] if failed else "", [text for text, code in ended if code == 0]


def accuracies(table):
    """{row: the least agreement with bf16 that the table promises at any length}"""
    rows = re.split(r"^  - name: ", pathlib.Path(table).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {row.split("\n")[0].strip('"'): min(float(value) for value in re.findall(r"accuracy_low: (\S+)", row))
            for row in rows}


def configs_of(answers):
    return collections.Counter(re.search(r"generated, KV config (\S+)", text)[1] for text in answers)


class Watch:
    """Scrapes until stopped and keeps the largest number of requests that own memory."""

    def __init__(self, server):
        self.server, self.held, self.scrapes, self.wrong = server, 0, 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.02):
            metrics = self.server.scrape()
            self.scrapes += 1
            self.held = max(self.held, total(metrics, "requests_running"))
            parts = total(metrics, "kv_allocated_bytes") + total(metrics, "kv_cached_bytes")
            self.wrong += parts != total(metrics, "kv_arena_allocated_bytes")

    def end(self):
        self.stop.set()
        self.thread.join()


def overload(args, folder, text):
    prompts = [text[i * 50:][:args.prompt] for i in range(args.overload)]
    with Server(args, folder) as server:
        watch = Watch(server)
        streams = [server.generate(prompt, 64, "--config", args.bf16) for prompt in prompts]
        server.wait_for(1, "requests_waiting")
        time.sleep(2)
        watch.end()
        for stream in streams:
            stream.kill()  # how many of them are held is all that is asked
        finish(streams)
    with Server(args, folder, high=0.3, low=0.2) as server:
        measured = Watch(server)
        streams = [server.generate(prompt, 64, "--accuracy", args.accuracy) for prompt in prompts]
        failed, why, answers = finish(streams)
        measured.end()
    configs = configs_of(answers)
    promised = accuracies(args.table)
    ok = check("overload lost", failed == 0, f"{failed} of {args.overload} requests {why}")
    ok = check("overload target", min(promised[name] for name in configs) >= float(args.accuracy),
               f"served in {dict(configs)}") and ok
    return check("overload held", measured.held >= args.factor * watch.held,
                 f"{measured.held:.0f} requests at once, {watch.held:.0f} in bf16") and ok


def guarantee(args, folder, text):
    with Server(args, folder, high=1, low=1) as server:
        burst = [server.generate(text[i * 50:][:4000], 200, "--config", args.bf16) for i in range(args.overload)]
        server.wait_for(1, "requests_waiting", 'class="default"')
        start = time.monotonic()
        gold = server.generate(text[:2000], 1, "--class", "gold")
        failed, why, _ = finish([gold])
        metrics = server.scrape()
        waited = total(metrics, "queue_seconds_sum", 'class="gold"')
        waiting = total(metrics, "requests_waiting", 'class="default"')
        steps = total(metrics, "step_seconds_sum") / max(1, total(metrics, "step_seconds_count"))
        ok = check("guarantee", failed == 0 and waiting > 0 and waited <= 4 * steps + 0.05,
                   f"gold waited {waited:.3f} s ({time.monotonic() - start:.2f} s in all), a step takes {steps:.3f} s, "
                   f"{waiting:.0f} others wait {why}")
        failed, why, _ = finish(burst)
        return check("guarantee burst", failed == 0, f"{failed} lost {why}") and ok


def decoding(server, text, streams, max_tokens):
    """Streams whose prompts, of some 500 tokens, have been computed."""
    started = [server.generate(text[i * 50:][:2000], max_tokens, "--accuracy", "0.95") for i in range(streams)]
    server.wait_for(streams, "time_to_first_token_seconds_count")
    return started


def requantize(args, folder, text):
    with Server(args, folder, capacity="64MiB", high=1, low=1) as server:
        streams = decoding(server, text, 3, 200)
        others = [server.generate(text[5000 + i * 50:][:2000], 20, "--accuracy", "0.95") for i in range(6)]
        failed, why, answers = finish(streams)
        lost, other_why, _ = finish(others)
    smaller = [answer for answer in answers if "requantized" in answer]
    whole = sum(", 200 generated" in answer for answer in answers)
    ok = check("requantize", bool(smaller) and whole == len(streams),
               f"{len(smaller)} of {len(streams)} streams made smaller, {whole} went on to their end {why}")
    ok = check("requantize target", min(map(accuracies(args.table).get, configs_of(answers))) >= 0.95,
               f"they ended in {dict(configs_of(answers))}") and ok
    return check("requantize lost", failed + lost == 0, f"{failed + lost} failed {other_why}") and ok


def reload(args, folder, text):
    with Server(args, folder, capacity="128MiB", high=1, low=1) as server:
        streams = decoding(server, text, 6, 200)
        before = total(server.scrape(), "kv_reserved_bytes")
        limit = total(server.scrape(), "kv_capacity_bytes") / 2
        server.write_slo(limit=50, high=1, low=1)
        start = time.monotonic()
        while total(server.scrape(), "kv_reserved_bytes") > limit and time.monotonic() < start + 60:
            time.sleep(0.05)
        seconds = time.monotonic() - start
        running = total(server.scrape(), "requests_running")
        bad_before = total(server.scrape(), "slo_reload_total", 'result="error"')
        (server.folder / "slo.yaml").write_text("schema_version: 7\n")
        failed, why, _ = finish(streams)
        time.sleep(1.5)
        bad = total(server.scrape(), "slo_reload_total", 'result="error"') - bad_before
        ok = check("reload", before > limit and seconds < 10 and running > 0,
                   f"{before / 1e6:.1f} MB promised were under {limit / 1e6:.1f} MB after {seconds:.1f} s, "
                   f"{running:.0f} of {len(streams)} requests still ran")
        ok = check("reload lost", failed == 0, f"{failed} of {len(streams)} failed {why}") and ok
        return check("reload of a bad file", bad == 1, "counted once, the old one stays") and ok


def fairness(args, folder, text):
    with Server(args, folder) as server:
        stream = server.generate(text[:200], 400, stdout=subprocess.PIPE)
        server.wait_for(1, "time_to_first_token_seconds_count")
        long = server.generate(text[1000:][:4 * args.prompt], 1, "--config", args.bf16)
        arrivals = []
        while long.poll() is None:
            if not os.read(stream.stdout.fileno(), 4096):
                break
            arrivals.append(time.monotonic())
        metrics = server.scrape()
        stream.kill()
        finish([stream])
    gaps = sorted(b - a for a, b in zip(arrivals, arrivals[1:]))
    mixed = 'kind="mixed"'
    steps = total(metrics, "step_seconds_sum", mixed) / max(1, total(metrics, "step_seconds_count", mixed))
    p99 = gaps[int(0.99 * (len(gaps) - 1))] if gaps else float("inf")
    return check("fairness", long.returncode == 0 and len(gaps) >= 20 and p99 <= 2 * steps,
                 f"{len(gaps)} gaps while the prompt was computed, 99% within {p99:.3f} s; a step with a chunk "
                 f"takes {steps:.3f} s")


def soak(args, folder, text):
    draw = random.Random(1)
    with Server(args, folder) as server:
        watch = Watch(server)
        lock, left, failures = threading.Lock(), [args.requests], []

        def client():
            while True:
                with lock:
                    if left[0] == 0:
                        return
                    left[0] -= 1
                    # Most are short; many begin alike.
                    begin, length = 50 * draw.randrange(20), draw.randrange(20, draw.choice((60, 60, 200, 200, 3000)))
                    tokens = draw.randrange(1, 24)
                    flags = draw.choice([[], ["--accuracy", "0.97"], ["--accuracy", "0.9"], ["--objective", "memory"],
                                         ["--class", "gold"]])
                failed, why, _ = finish([server.generate(text[begin:][:length], tokens, *flags)])
                if failed:
                    failures.append(why)

        clients = [threading.Thread(target=client) for _ in range(16)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        watch.end()
        metrics = server.scrape()
    left = total(metrics, "kv_allocated_bytes") + total(metrics, "kv_reserved_bytes")
    ok = check("soak", not failures, f"{args.requests} requests, {len(failures)} failed {failures[:1]}")
    ok = check("soak metrics", watch.wrong == 0 and watch.scrapes > 0,
               f"{watch.scrapes} scrapes, {watch.wrong} wrong, up to {watch.held:.0f} requests held") and ok
    return check("soak leaks", left == 0, f"{left:.0f} bytes left") and ok


SCENARIOS = {scenario.__name__: scenario for scenario in
             (overload, guarantee, requantize, reload, fairness, soak)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("server", "client", "model", "table", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--only", default=",".join(SCENARIOS))
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--capacity", default="192MiB")
    parser.add_argument("--accuracy", default="0.97")
    parser.add_argument("--prompt", type=int, default=4000, help="characters of a prompt in overload")
    parser.add_argument("--factor", type=float, default=2.5)
    parser.add_argument("--overload", type=int, default=48, help="requests at once")
    parser.add_argument("--bf16", default="bf16-c128", help="the table's bf16 row")
    args = parser.parse_args()
    text = pathlib.Path(args.text).read_text(encoding="utf-8")
    good = True
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            good = SCENARIOS[name](args, folder, text) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
