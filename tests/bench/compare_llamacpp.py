#!/usr/bin/env python3
"""Times this engine and llama.cpp side by side on one GGUF file: prefill, and decode right behind it.

usage: compare_llamacpp.py MODEL.gguf --engine build/release/tests/bench/engine_bench --peer-python PYTHON
           [--threads 1 2] [--prefill 2048] [--decode 32] [--repeats 5] [--configs TEXT ...]

PYTHON is an interpreter that has llama-cpp-python, built for this machine. Both engines stay loaded and take turns,
so that a disturbance hits both; medians are reported. llama.cpp runs with an f16 cache, flash attention on and off,
and micro-batches of 512 and 2048 tokens; its best combination counts, for each kind of work by itself. Prints a
markdown table. Run it on an otherwise idle machine.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

OURS = ["k=bf16 v=bf16 sink=16 recent=0 chunk=512", "k=bf16 v=bf16 sink=16 recent=0 chunk=2048",
        "k=int8-channel v=int8-token sink=16 recent=0 chunk=512",
        "k=int4-channel v=int4-token sink=16 recent=0 chunk=512"]
SETTLE_SECONDS = 0.5  # OpenMP's threads spin for 200 ms after their last work
PEER_VARIANTS = [(flash, ubatch) for flash in (True, False) for ubatch in (512, 2048)]


def serve_peer(arguments):
    """Runs in the peer's interpreter: the same line protocol as engine_bench."""
    import llama_cpp

    settings = json.loads(arguments)
    llm = llama_cpp.Llama(
        settings["model"], n_ctx=settings["prefill"] + settings["decode"] + 64, n_batch=settings["prefill"],
        n_ubatch=settings["ubatch"], n_threads=settings["threads"], n_threads_batch=settings["threads"],
        flash_attn=settings["flash"], verbose=False)
    tokens = [(7919 * i + 13) % llm.n_vocab() for i in range(settings["prefill"])]
    print(json.dumps({"backend": "llama-cpp-python " + llama_cpp.__version__}), flush=True)
    for _ in sys.stdin:
        llm.reset()
        start = time.perf_counter()
        llm.eval(tokens)
        prefilled = time.perf_counter()
        for i in range(settings["decode"]):
            llm.eval([tokens[i]])
        end = time.perf_counter()
        print(json.dumps({"prefill_tokens_per_second": settings["prefill"] / (prefilled - start),
                          "decode_tokens_per_second": settings["decode"] / (end - prefilled)}), flush=True)


class Runner:
    """A loaded engine that measures on demand."""

    def __init__(self, name, command):
        self.name = name
        self.results = []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.backend = self.read()["backend"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with exit code {self.process.wait()}")
        return json.loads(line)

    def measure(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()

    def median(self, key):
        return statistics.median(result[key] for result in self.results)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start_runners(args, threads):
    ours = [Runner(config, [args.engine, args.model, "--threads", str(threads), "--prefill", str(args.prefill),
                            "--decode", str(args.decode), "--config", config]) for config in args.configs]
    peers = []
    for flash, ubatch in PEER_VARIANTS:
        settings = json.dumps(dict(model=args.model, prefill=args.prefill, decode=args.decode, ubatch=ubatch,
                                   threads=threads, flash=flash))
        name = f"llama.cpp f16, flash attention {'on' if flash else 'off'}, ubatch {ubatch}"
        peers.append(Runner(name, [args.peer_python, __file__, "--serve-peer", settings]))
    return ours, peers


def compare(args, threads):
    """Returns the lines of the table for one thread count."""
    ours, peers = start_runners(args, threads)
    for round_number in range(args.repeats + 1):
        for runner in ours + peers:
            time.sleep(SETTLE_SECONDS)
            result = runner.measure()
            if round_number > 0:  # the first one warms up
                runner.results.append(result)
        print(f"{threads} threads: round {round_number} of {args.repeats}", file=sys.stderr)
    lines = []
    best = {key: max(peer.median(key) for peer in peers)
            for key in ("prefill_tokens_per_second", "decode_tokens_per_second")}
    for runner in ours + peers:
        cells = []
        for key in ("prefill_tokens_per_second", "decode_tokens_per_second"):
            value = runner.median(key)
            ratio = f" ({value / best[key]:.2f}x)" if runner in ours else " (best)" * (value == best[key])
            cells.append(f"{value:.0f}{ratio}")
        label = runner.name if runner in peers else f"this engine ({runner.backend}), {runner.name}"
        lines.append(f"| {threads} | {label} | {cells[0]} | {cells[1]} |")
        runner.close()
    return lines


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--serve-peer":
        return serve_peer(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--prefill", type=int, default=2048)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--configs", nargs="+", default=OURS)
    args = parser.parse_args()
    table = ["| threads | engine | prefill %d, tok/s | decode at depth %d, tok/s |" % (args.prefill, args.prefill),
             "|---|---|---|---|"]
    for threads in args.threads:
        table += compare(args, threads)
    print("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
