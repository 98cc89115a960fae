#!/usr/bin/env python3
"""How this engine's cost grows with context length, and with the number of sequences that decode at once, as markdown.

Every config has a process of its own, so that the peak resident memory is its own; lengths ascend. Decode times are
medians of stretches of 16 tokens behind one prefill, in milliseconds per token (of one sequence). Run it on an
otherwise idle machine.
"""
import argparse
import contextlib
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compare.processes import Engine  # noqa: E402
from compare.works import NAMED, config  # noqa: E402

STRETCH_TOKENS = 16
MIB = 1 << 20


def decode_seconds(engine, repeats):
    """Median seconds for every open sequence to decode one token."""
    engine.decode(2)  # wakes the threads
    return statistics.median(engine.decode(STRETCH_TOKENS) for _ in range(repeats)) / STRETCH_TOKENS


def measure_length(engine, text, tokens, repeats):
    """Cells of one length."""
    prefill_seconds = engine.open(tokens, STRETCH_TOKENS * repeats + 2, text)
    seconds = decode_seconds(engine, repeats)
    memory = engine.ask("close")
    kv_mib, peak_mib = memory["kv_bytes"] / MIB, memory["peak_rss_bytes"] / MIB
    return f"{prefill_seconds:.2f} | {1000 * seconds:.2f} | {kv_mib:.1f} | {peak_mib:.0f}"


def measure_batch(engine, text, args):
    """Cells of decoding alone and of several sequences together."""
    rates = []
    for requests in (1, args.sequences):
        # The first sequences decode while the last ones prefill: they need tokens for that.
        spare = 2 + args.depth * (requests - 1) // args.chunk + requests
        engine.open(args.depth, STRETCH_TOKENS * args.repeats + spare, text, requests)
        rates.append(requests / decode_seconds(engine, args.repeats))
    return f"{rates[0]:.0f} | {rates[1]:.0f} | {rates[1] / rates[0]:.2f}x"


def print_curve(args, start_engine):
    print("| config | context | prefill, s | decode, ms per token | KV, MiB | peak resident, MiB |")
    print("|---|---|---|---|---|---|")
    for name in args.configs:
        with contextlib.closing(start_engine()) as engine:
            for tokens in args.lengths:
                cells = measure_length(engine, config(*NAMED[name], args.chunk), tokens, args.repeats)
                print(f"| {name} | {tokens} | {cells} |", flush=True)


def print_batches(args, start_engine):
    print(f"| config | one sequence at depth {args.depth}, tok/s | {args.sequences} sequences, tok/s in all | |")
    print("|---|---|---|---|")
    for name in args.configs:
        with contextlib.closing(start_engine()) as engine:
            print(f"| {name} |", measure_batch(engine, config(*NAMED[name], args.chunk), args), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--engine", required=True, help="engine_bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--configs", nargs="+", choices=NAMED, default=["bf16", "int8", "int4"])
    parser.add_argument("--chunk", type=int, default=512, help="prefill chunk, tokens")
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 2048, 4096, 8192, 16384, 32000])
    parser.add_argument("--sequences", type=int, default=8, help="that decode at once; 1: leave that table out")
    parser.add_argument("--depth", type=int, default=2000, help="of those sequences")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    def start_engine():
        return Engine(args.engine, args.model, args.threads, max_step_tokens=args.chunk)
    with contextlib.closing(start_engine()) as engine:
        weights_mib = engine.about["weights_bytes"] / MIB
        print(f"{os.path.basename(args.model)}, {engine.about['backend']}, {args.threads} threads, chunk {args.chunk}, "
              f"weights {weights_mib:.0f} MiB\n")
    if args.lengths:
        print_curve(args, start_engine)
    if args.sequences > 1:
        print()
        print_batches(args, start_engine)


if __name__ == "__main__":
    main()
