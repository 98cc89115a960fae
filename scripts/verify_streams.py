#!/usr/bin/env python3
"""Runs concurrent streams with different KV configs against a running server and checks that each greedy
answer equals the one obtained alone, and that in every scrape the allocated bytes by config add up to what
the arena says it has handed out.

usage: verify_streams.py --client build/release/clients/cli/kvpareto --file PROMPT_TEXT
                         [--server 127.0.0.1:50051] [--metrics http://127.0.0.1:9464/metrics] [--streams 8]
"""
import argparse
import re
import subprocess
import sys
import threading
import time
import urllib.request

CONFIGS = [
    "k=bf16 v=bf16 sink=0 recent=0 chunk=256",
    "k=int8-channel v=int8-token sink=16 recent=0 chunk=128",
    "k=int4-channel v=int4-token-g32 sink=16 recent=128 chunk=256",
    "k=int4-token-g32 v=int2-token-g32 sink=16 recent=64 chunk=64",
]


def metric(text: str, name: str) -> list:
    return [float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)]


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--client", required=True)
    parser.add_argument("--file", required=True, help="text; each stream takes another piece of it")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--metrics", default="http://127.0.0.1:9464/metrics")
    parser.add_argument("--streams", type=int, default=8)
    args = parser.parse_args()
    text = open(args.file, encoding="utf-8").read()

    def start(index: int) -> subprocess.Popen:
        piece = text[index * 900:][:2500 + 700 * index]
        return subprocess.Popen(
            [args.client, "generate", "--server", args.server, "--config", CONFIGS[index % len(CONFIGS)],
             "--max-tokens", "48", piece], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    alone = []
    for index in range(args.streams):
        process = start(index)
        alone.append(process.communicate(timeout=120)[0])
        if process.returncode != 0:
            print(f"stream {index} failed alone")
            return 1

    stop = threading.Event()
    scrapes = {"taken": 0, "nonzero": 0, "wrong": 0}

    def watch() -> None:
        while not stop.is_set():
            page = scrape(args.metrics)
            total = sum(metric(page, "kvpareto_kv_allocated_bytes"))
            capacity = sum(metric(page, "kvpareto_kv_capacity_bytes"))
            arena = sum(metric(page, "kvpareto_kv_utilization_ratio")) * capacity
            scrapes["taken"] += 1
            scrapes["nonzero"] += total > 0
            scrapes["wrong"] += abs(total - arena) >= 0.5
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    processes = [start(index) for index in range(args.streams)]
    together = [process.communicate(timeout=300)[0] for process in processes]
    stop.set()
    watcher.join()

    differing = [i for i in range(args.streams) if alone[i] != together[i]]
    print(f"{args.streams} streams, {len(CONFIGS)} KV configs: {len(differing)} answers differ {differing}; "
          f"{scrapes['taken']} scrapes, {scrapes['nonzero']} with memory in use, {scrapes['wrong']} disagree")
    return 1 if differing or scrapes["wrong"] or not scrapes["nonzero"] else 0


if __name__ == "__main__":
    sys.exit(main())
