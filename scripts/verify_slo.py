#!/usr/bin/env python3
"""Runs a server with a real model on loopback under memory SLOs and real load, and checks:

  overload   3 times as many requests with an accuracy target as fit: at least FACTOR times as many are held at
             once as bf16 could, each in a config that meets the target, none lost. What can be reached depends on
             the table: kvpareto slo check tells
  guarantee  a guaranteed class is admitted at once while burst traffic fills the rest
  requantize running streams are made smaller for others: they go on to their end, within their target; their mean KL
             divergence from their unpressured runs, by the log-probabilities that they return, is within the table's
  reload     half the limit under load: what is promised falls under it within seconds, no admitted request fails
  fairness   while a long prompt is computed, 99% of a stream's tokens come within twice a chunk's step
  prefix     50 requests that begin with the same 4,000 tokens: the first token comes 10 times sooner after the first
             one, and together they hold the common part once
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
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

from loopback_server import LoopbackServer, Watch, check, total
from stream_divergence import divergences, mean_and_error, read_tokens

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
    limits: {{max_running_sequences: 256, max_queued_requests: 1000, max_top_logprobs: 1000}}
service_classes: [default, gold]
slo: slo.yaml
log: {{format: json}}
"""
PREFIX_CONFIG = "k=int8-channel v=int8-token sink=16 recent=0 chunk=128"


class Server(LoopbackServer):
    """A server in a folder of its own."""

    def __init__(self, args, folder, capacity=None, **slo):
        self.args, self.folder = args, pathlib.Path(folder)
        self.write_slo(**slo)
        config = self.folder / "server.yaml"
        config.write_text(CONFIG.format(model=pathlib.Path(args.model).resolve(),
                                        table=pathlib.Path(args.table).resolve(), capacity=capacity or args.capacity))
        super().__init__(args.server, config)

    def write_slo(self, limit=100, high=0.6, low=0.5):
        new = self.folder / "slo.new"
        new.write_text(SLO.format(limit=limit, high=high, low=low))
        new.rename(self.folder / "slo.yaml")

    def generate(self, prompt, max_tokens, *flags, stdout=subprocess.DEVNULL):
        """The prompt is read from standard input: as a word it could look like a flag."""
        process = subprocess.Popen([self.args.client, "generate", "--server", self.address, "--max-tokens",
                                    str(max_tokens), "--ignore-eos", "--explain", "--file", "-", *flags],
                                   stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE, text=True)
        process.stdin.write(prompt)
        process.stdin.close()
        process.stdin = None  # or communicate() would flush it
        return process


def finish(processes):
    """How many failed, with the first message; and what the others say of themselves."""
    ended = [(p.communicate()[1], p.returncode) for p in processes]
    failed = [text for text, code in ended if code != 0]
    return len(failed), failed[0].strip()[-200:] if failed else "", [text for text, code in ended if code == 0]


def table_column(table, key, choose):
    """{row: one of the numbers measured at the lengths of the table}"""
    rows = re.split(r"^  - name: ", pathlib.Path(table).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {row.split("\n")[0].strip('"'): choose(float(value) for value in re.findall(rf"{key}: (\S+)", row))
            for row in rows}


def accuracies(table):
    return table_column(table, "accuracy_low", min)


def config_of(answer):
    return re.search(r"generated, KV config (\S+)", answer)[1]


def configs_of(answers):
    return collections.Counter(map(config_of, answers))


def overload(args, folder, text):
    prompts = [text[i * 50:][:args.prompt] for i in range(args.overload)]
    with Server(args, folder) as server:
        watch = Watch(server)
        streams = [server.generate(prompt, 64, "--config", args.bf16) for prompt in prompts]
        server.wait_for(1, "requests_waiting")
        time.sleep(2)
        in_bf16 = total(watch.end(), "requests_running")
        for stream in streams:
            stream.kill()  # how many of them are held is all that is asked
        finish(streams)
    with Server(args, folder, high=0.3, low=0.2) as server:
        measured = Watch(server)
        streams = [server.generate(prompt, 64, "--accuracy", args.accuracy) for prompt in prompts]
        failed, why, answers = finish(streams)
        held = total(measured.end(), "requests_running")
    configs = configs_of(answers)
    promised = accuracies(args.table)
    ok = check("overload lost", failed == 0, f"{failed} of {args.overload} requests {why}")
    ok = check("overload target", min(promised[name] for name in configs) >= float(args.accuracy),
               f"served in {dict(configs)}") and ok
    return check("overload held", held >= args.factor * in_bf16,
                 f"{held:.0f} requests at once, {in_bf16:.0f} in bf16") and ok


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


def decoding(server, text, streams, max_tokens, output=None):
    """Streams whose prompts, of some 500 tokens, have been computed; they write to files of that name and a number."""
    started = []
    for i in range(streams):
        flags = ["--logprobs", "1000"] if output else []
        with open(f"{output}{i}" if output else os.devnull, "w", encoding="utf-8") as stdout:
            started.append(server.generate(text[i * 3000:][:2000], max_tokens, "--accuracy", "0.95", *flags,
                                           stdout=stdout))
    server.wait_for(streams, "time_to_first_token_seconds_count")
    return started


def check_divergence(args, folder, configs):
    """Of the streams in `changed0`... from those in `alone0`..., by the config in which each of them ended."""
    found = collections.defaultdict(list)
    for i, config in enumerate(configs):
        alone, changed = (read_tokens(pathlib.Path(f"{folder}/{run}{i}").read_text(encoding="utf-8"))
                          for run in ("alone", "changed"))
        found[config].append(divergences(alone, changed))
    ok, bounds = True, table_column(args.table, "kl_mean", next)  # of the shortest length: that of the streams
    for config in found.keys() - {args.bf16}:
        mean, error = mean_and_error(found[config])
        ok &= check("requantize divergence", mean - 2 * error <= bounds[config],  # never of infinities
                    f"{config}: mean KL {mean:.2e} +- {error:.1e} over {sum(map(len, found[config]))} positions of "
                    f"{len(found[config])} streams, the table says {bounds[config]:.2e}")
    return ok


def requantize(args, folder, text):
    streams, tokens = 6, 200
    with Server(args, folder, capacity="256MiB", high=1, low=1) as server:
        finish(decoding(server, text, streams, tokens, f"{folder}/alone"))
    with Server(args, folder, capacity="144MiB", high=1, low=1) as server:
        running = decoding(server, text, streams, tokens, f"{folder}/changed")
        others = [server.generate(text[50000 + i * 50:][:2000], 20, "--accuracy", "0.95") for i in range(10)]
        failed, why, answers = finish(running)
        lost, other_why, _ = finish(others)
    smaller = [answer for answer in answers if "requantized" in answer]
    whole = sum(f", {tokens} generated" in answer for answer in answers)
    ok = check("requantize", bool(smaller) and whole == streams,
               f"{len(smaller)} of {streams} streams made smaller, {whole} went on to their end {why}")
    ok = check("requantize target", min(map(accuracies(args.table).get, configs_of(answers))) >= 0.95,
               f"they ended in {dict(configs_of(answers))}") and ok
    ok = check("requantize lost", failed + lost == 0, f"{failed + lost} failed {other_why}") and ok
    return ok and check_divergence(args, folder, [config_of(answer) for answer in answers])


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


def seconds_to_first_token(answer):
    return sum(float(value) for value in re.search(r"queue (\S+) s, prefill (\S+) s", answer).groups())


def prefix(args, folder, text):
    requests = 50

    def ask(server, i):
        return server.generate(f"{text[:17000]} {i}. {text[20000 + 100 * i:][:100]}", 16, "--config", PREFIX_CONFIG)

    with Server(args, folder, capacity="512MiB", high=1, low=1) as server:
        alone = Watch(server)
        answers = finish([ask(server, 0)])[2]
        one = total(alone.end(), "kv_allocated_bytes")
        for i in range(1, requests):
            answers += finish([ask(server, i)])[2]
        together = Watch(server)
        answers_together = finish([ask(server, 1000 + i) for i in range(requests)])[2]
        most = together.end()
    ok = check("prefix lost", len(answers) == len(answers_together) == requests, f"{requests} and {requests} asked")
    first, *others = map(seconds_to_first_token, answers)
    tokens = re.search(r"tokens +(\S+) in the prompt", answers[0])[1]
    ok = check("prefix time", first >= 10 * max(others),
               f"{tokens} tokens, the first token after {first:.3f} s, then after {max(others):.3f} s at most, "
               f"{sorted(others)[len(others) // 2]:.3f} s in the middle") and ok
    return check("prefix bytes", 0 < total(most, "kv_allocated_bytes") < requests * one / 5,
                 f"{total(most, 'requests_running'):.0f} at once hold "
                 f"{total(most, 'kv_allocated_bytes') / 1e6:.1f} MB, one alone {one / 1e6:.1f} MB") and ok


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
                    begin, length = 50 * draw.randrange(20), draw.randrange(20, draw.choice((60, 60, 100, 200, 600)))
                    tokens = draw.randrange(1, 16)
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
        held = total(watch.end(), "requests_running")
        metrics = server.scrape()
    left = total(metrics, "kv_allocated_bytes") + total(metrics, "kv_reserved_bytes")
    ok = check("soak", not failures, f"{args.requests} requests, {len(failures)} failed {failures[:1]}")
    ok = check("soak metrics", watch.wrong == 0 and watch.scrapes > 0,
               f"{watch.scrapes} scrapes, {watch.wrong} wrong, up to {held:.0f} requests held") and ok
    return check("soak leaks", left == 0, f"{left:.0f} bytes left") and ok


SCENARIOS = {scenario.__name__: scenario for scenario in
             (overload, guarantee, requantize, reload, fairness, prefix, soak)}


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
