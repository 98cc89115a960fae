"""A server on loopback for the scripts beside this one, and what its metrics say. Needs nothing but Python."""
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request


class LoopbackServer:
    """A server process; `with` stops it. `events` are what it has logged, in JSON, until it served gRPC or ended."""

    def __init__(self, binary, config_file, env=None):
        self.command = [binary, "--config", config_file]
        self.env, self.events = {**os.environ, **(env or {})}, []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, env=self.env)
        for line in self.process.stderr:
            event = json.loads(line)
            self.events.append(event)
            name = event.get("event", event.get("msg"))
            if name == "serving metrics":
                self.metrics_url = f"http://127.0.0.1:{event['port']}/metrics"
            if name == "serving":  # every other listener starts before
                self.address = f"127.0.0.1:{event['port']}"
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)

    def scrape(self):
        """{(metric, labels): value}"""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as response:
            text = response.read().decode()
        return {(name, labels or ""): float(value) for name, labels, value in
                re.findall(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", text, re.MULTILINE)}

    def wait_for(self, count, name, label=""):
        """Until a metric has reached `count`, ten minutes at most."""
        end = time.monotonic() + 600
        while total(self.scrape(), name, label) < count and time.monotonic() < end:
            time.sleep(0.05)


def total(metrics, name, label=""):
    """The sum over the series of a metric, named without its prefix, whose labels hold `label`."""
    return sum(value for (metric, labels), value in metrics.items()
               if metric == "kvpareto_" + name and label in labels)


class Watch:
    """Scrapes until `end`: in every scrape the bytes by class and config, and what is cached, add up to the arena's
    own count (`wrong` counts those where they do not). `most`: the scrape with the most requests held, then bytes."""

    def __init__(self, server, pause=0.05):
        self.server, self.pause, self.scrapes, self.wrong, self.most = server, pause, 0, 0, {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(self.pause):
            metrics = self.server.scrape()
            self.scrapes += 1
            parts = total(metrics, "kv_allocated_bytes") + total(metrics, "kv_cached_bytes")
            self.wrong += parts != total(metrics, "kv_arena_allocated_bytes")
            if self.held(metrics) >= self.held(self.most):
                self.most = metrics

    @staticmethod
    def held(metrics):
        return total(metrics, "requests_running"), total(metrics, "kv_allocated_bytes")

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.most


def check(name, ok, detail):
    print(f"{'ok  ' if ok else 'FAIL'} {name}: {detail}", flush=True)
    return bool(ok)
