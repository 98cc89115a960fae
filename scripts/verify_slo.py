#!/usr/bin/env python3
"""Runs a server with a real model on loopback under memory SLOs and real load, and checks:

  overload  3 times as many requests with an accuracy target as fit: at least FACTOR times as many are held at once
            as bf16 could, none lost. What can be reached depends on the table: kvpareto slo check tells
  guarantee a guaranteed class is admitted at once while burst traffic fills the rest
  reload    half the limit under load: what is promised falls under it within seconds, no admitted request fails
  soak      random requests; in every scrape the bytes by class and config add up to the arena's own count, and
            nothing is left at the end

usage: verify_slo.py --server BUILD/server/kvpareto-server --client BUILD/clients/cli/kvpareto --model MODEL.gguf
                     --table TABLE.yaml --text PROMPT_TEXT [--only overload,guarantee,reload,soak]
                     [--requests 1000] [--capacity 192MiB] [--accuracy 0.97] [--factor 1.5]

Prints one line per check and ends with status 1 if one fails.
"""
import argparse
import json
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

    def __init__(self, args, folder, **slo):
        self.args, self.folder = args, pathlib.Path(folder)
        self.write_slo(**slo)
        (self.folder / "server.yaml").write_text(CONFIG.format(
            model=pathlib.Path(args.model).resolve(), table=pathlib.Path(args.table).resolve(),
            capacity=args.capacity))

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

    def generate(self, prompt, max_tokens, *flags):
        return subprocess.Popen([self.args.client, "generate", "--server", self.address, "--max-tokens",
                                 str(max_tokens), "--ignore-eos", *flags, prompt],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

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
    """How many failed, with the first message."""
    failed = [p.communicate()[1] for p in processes if p.wait() != 0]
    return len(failed), failed[0].strip() if failed else ""


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
            self.wrong += total(metrics, "kv_allocated_bytes") != total(metrics, "kv_arena_allocated_bytes")

    def end(self):
        self.stop.set()
        self.thread.join()


def overload(args, folder, text):
    held = {}
    for name, flags in (("bf16", ["--config", args.bf16]), ("free", ["--accuracy", args.accuracy])):
        with Server(args, folder, high=0.3, low=0.2) as server:
            watch = Watch(server)
            streams = [server.generate(text[i * 50:][:4000], 64, *flags) for i in range(args.overload)]
            failed, why = finish(streams)
            watch.end()
            metrics = server.scrape()
        held[name] = watch.held
        if not check(f"overload {name}", failed == 0, f"{args.overload} requests, {failed} lost {why}"):
            return False
    configs = {re.search('config="([^"]*)"', labels)[1]: int(value) for (name, labels), value in metrics.items()
               if name == "kvpareto_plans_total" and value}
    print(f"     configs {configs}")
    return check("overload held", held["free"] >= args.factor * held["bf16"], f"{held}")


def guarantee(args, folder, text):
    with Server(args, folder, high=1, low=1) as server:
        burst = [server.generate(text[i * 50:][:4000], 200, "--config", args.bf16) for i in range(args.overload)]
        while total(server.scrape(), "requests_waiting", 'class="default"') < 1:
            time.sleep(0.05)
        start = time.monotonic()
        gold = server.generate(text[:2000], 1, "--class", "gold")
        failed, why = finish([gold])
        waited = total(server.scrape(), "queue_seconds_sum", 'class="gold"')
        waiting = total(server.scrape(), "requests_waiting", 'class="default"')
        step = server.scrape()
        steps = total(step, "step_seconds_sum") / max(1, total(step, "step_seconds_count"))
        ok = check("guarantee", failed == 0 and waiting > 0 and waited <= 4 * steps + 0.05,
                   f"gold waited {waited:.3f} s ({time.monotonic() - start:.2f} s in all), a step takes {steps:.3f} s, "
                   f"{waiting:.0f} others wait {why}")
        failed, why = finish(burst)
        return check("guarantee burst", failed == 0, f"{failed} lost {why}") and ok


def reload(args, folder, text):
    with Server(args, folder, high=1, low=1) as server:
        streams = [server.generate(text[i * 50:][:4000], 100, "--accuracy", "0.9") for i in range(args.overload)]
        while total(server.scrape(), "requests_waiting") < 1:
            time.sleep(0.05)
        limit = total(server.scrape(), "kv_capacity_bytes") / 2
        server.write_slo(limit=50, high=1, low=1)
        start = time.monotonic()
        while total(server.scrape(), "kv_reserved_bytes") > limit and time.monotonic() < start + 60:
            time.sleep(0.05)
        seconds = time.monotonic() - start
        bad_before = total(server.scrape(), "slo_reload_total", 'result="error"')
        (server.folder / "slo.yaml").write_text("schema_version: 7\n")
        failed, why = finish(streams)
        time.sleep(1.5)
        bad = total(server.scrape(), "slo_reload_total", 'result="error"') - bad_before
        ok = check("reload", seconds < 60, f"promised bytes under half the memory after {seconds:.1f} s")
        ok = check("reload lost", failed == 0, f"{failed} of {len(streams)} failed {why}") and ok
        return check("reload of a bad file", bad == 1, "counted once, the old one stays") and ok


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
                    begin, length = draw.randrange(len(text) // 2), draw.randrange(20, 3000)
                    tokens = draw.randrange(1, 24)
                    flags = draw.choice([[], ["--accuracy", "0.97"], ["--accuracy", "0.9"], ["--objective", "memory"],
                                         ["--class", "gold"]])
                failed, why = finish([server.generate(text[begin:][:length], tokens, *flags)])
                if failed:
                    failures.append(why)

        clients = [threading.Thread(target=client) for _ in range(16)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        watch.end()
        metrics = server.scrape()
    left = total(metrics, "kv_arena_allocated_bytes") + total(metrics, "kv_reserved_bytes")
    ok = check("soak", not failures, f"{args.requests} requests, {len(failures)} failed {failures[:1]}")
    ok = check("soak metrics", watch.wrong == 0 and watch.scrapes > 0,
               f"{watch.scrapes} scrapes, {watch.wrong} wrong, up to {watch.held:.0f} requests held") and ok
    return check("soak leaks", left == 0, f"{left:.0f} bytes left") and ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("server", "client", "model", "table", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--only", default="overload,guarantee,reload,soak")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--capacity", default="192MiB")
    parser.add_argument("--accuracy", default="0.97")
    parser.add_argument("--factor", type=float, default=1.5)
    parser.add_argument("--overload", type=int, default=48, help="requests at once")
    parser.add_argument("--bf16", default="bf16-c128", help="the table's bf16 row")
    args = parser.parse_args()
    text = pathlib.Path(args.text).read_text(encoding="utf-8")
    scenarios = {"overload": overload, "guarantee": guarantee, "reload": reload, "soak": soak}
    good = True
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            good = scenarios[name](args, folder, text) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
