#!/usr/bin/env python3
"""Times this engine and llama.cpp side by side on one GGUF file and prints a markdown table for each thread count.

A scouting round finds llama.cpp's best cache types, flash attention and ubatch for each work, this engine's best
prefill chunk, and its slowest and fastest codecs. Then only those take turns; medians count. What takes llama.cpp
longer than --limit seconds with a q4_0 cache is stopped there and marked with '<': speed falls with depth, so the
part that was done is an upper bound.

--peer-python names an interpreter that has llama-cpp-python, built for this machine. Run it on an otherwise idle
machine. A large model is compared with what is named by --configs and --peer-variants alone. With --results, works can
be measured in several calls: each adds to the file, and prints all that is in it.
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compare.processes import Engine, Peer  # noqa: E402
from compare.rounds import compare_engines  # noqa: E402
from compare.scout import Scout, note  # noqa: E402
from compare.servers import compare_servers  # noqa: E402
from compare.table import repeats_text, table, write_between_markers  # noqa: E402
from compare.works import DEFAULT_WORKS, KINDS, NAMED, QUICK_CODECS, PeerVariant, Work  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--engine", required=True, help="engine_bench")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--server", help="kvpareto-server, for works of the kind 'serve'")
    parser.add_argument("--server-bench", help="its client, server_bench")
    parser.add_argument("--llama-server", help="llama-server of the same build; without it, 'serve' is left out")
    parser.add_argument("--calibration", help="calibration file, for codecs that need one")
    parser.add_argument("--works", nargs="+", default=DEFAULT_WORKS, metavar="KIND-TOKENS",
                        help=f"prefill-N, decode-N or serve-N (default: {' '.join(DEFAULT_WORKS)})")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0,
                        help="seconds of one prefill with a q4_0 cache, or with any that --peer-variants names")
    parser.add_argument("--quick", action="store_true", help="3 repeats, one codec of each kind")
    parser.add_argument("--configs", nargs="+", choices=NAMED, help="of ours, these; no slowest and fastest codec")
    parser.add_argument("--peer-variants", nargs="+", type=PeerVariant.parse, metavar="K,V,FA,UBATCH",
                        help="of llama.cpp's, these, without scouting: f16,f16,on,512")
    parser.add_argument("--results", help="JSON file that keeps what was measured")
    parser.add_argument("--readme", help="file that gets the tables, between its marker comments")
    args = parser.parse_args()
    if args.quick:
        args.repeats = min(args.repeats, 3)
    return args


def load_results(path):
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return {"about": {}, "threads": {}}


def save_results(path, results):
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))


def measure_threads(args, threads, results):
    """Adds the works to `results`."""
    of_threads = results["threads"].setdefault(str(threads), {"scouted": {}, "works": {}})
    peer = Peer(args.peer_python, args.model, threads)
    scout = Scout(of_threads["scouted"], peer, args.limit, args.peer_variants)

    def start_engine():
        return Engine(args.engine, args.model, threads, args.calibration)
    engine = start_engine()
    if args.configs:
        codecs = []
    else:
        codecs = list(QUICK_CODECS) if args.quick else engine.ask("codecs")["codecs"]
    named = {name: NAMED[name] for name in args.configs or NAMED}
    chunk = scout.chunk(engine)
    results["about"] = {"model": os.path.basename(args.model), "cpu": cpu_model(),
                        "cores": len(os.sched_getaffinity(0)), "ours": engine.about["backend"],
                        "peer": peer.about["backend"], "peer version": peer.about["version"]}
    engine.close()
    for work in map(Work.parse, args.works):
        if work.kind != "serve":
            measured = compare_engines(work, scout, start_engine, (named, codecs), args.repeats)
        elif args.llama_server and args.server and args.server_bench:
            measured = compare_servers(work, scout, args, threads, chunk)
        else:
            note(f"{work} is left out: it takes --server, --server-bench and --llama-server")
            continue
        of_threads["works"][str(work)] = measured
        save_results(args.results, results)
    peer.close()


def report(results):
    """The tables, with what they were measured on."""
    about = results["about"]
    works = {threads: of_threads["works"] for threads, of_threads in results["threads"].items()}
    lines = [f"{about['model']} on {about['cpu']}, {about['cores']} cores. This engine: {about['ours']}. llama.cpp: "
             f"{about['peer version']} ({about['peer']}); fa is flash attention. Medians of "
             f"{repeats_text([work for of_threads in works.values() for work in of_threads.values()])}; ratios are to "
             "llama.cpp's best; int8 is K per channel and V per token, int4 the same; slowest and fastest codec: K and "
             "V in the same one. `tests/bench/compare_llamacpp.sh PEER_PYTHON MODEL.gguf --llama-server FILE`"]
    for threads, measured in works.items():
        ordered = sorted(map(Work.parse, measured), key=lambda work: (KINDS.index(work.kind), work.depth))
        lines += ["", f"{threads} thread{'s' if threads != '1' else ''}:", ""]
        lines += table([(work.label, measured[str(work)]) for work in ordered])
    return "\n".join(lines)


def main():
    args = parse_arguments()
    results = load_results(args.results)
    for threads in args.threads:
        measure_threads(args, threads, results)
    text = report(results)
    print(text)
    if args.readme:
        write_between_markers(args.readme, text)


if __name__ == "__main__":
    main()
