#!/usr/bin/env python3
"""Writes an invented results.json (docs/tuning.md) with the shape of a real one, to look at reports.

usage: sample_results.py OUT.json
"""
import itertools
import json
import math
import random
import sys

LAYERS, KV_HEADS, HEAD_DIM, HEADS = 28, 2, 128, 12
PARAMETERS = 1_543_714_304
CONTEXTS, LENGTHS = [1024, 4096], [10000, 32768]
ELEMENTS = 2 * LAYERS * KV_HEADS * HEAD_DIM  # of a token
TECHNIQUES = ["sink", "recent", "rotation", "channel keys"]
DIVIDES_KL_BY = {"sink": 3.0, "recent": 2.2, "rotation": 1.8, "channel keys": 2.6}


def interval(value, spread):
    return {"value": value, "low": value - spread, "high": value + spread}


def scored(rng, loss, items):
    relative = interval(-loss + rng.gauss(0, .004), .012 + loss / 2)
    difference = {key: .6 * value for key, value in relative.items()}
    return {"score": .6 + difference["value"], "reference": .6, "difference": difference, "relative": relative,
            "items": items, "changed": int(min(items, items * loss * 4))}


def memory(bits, weights, tokens):
    kv, workspace = bits / 8 * ELEMENTS * tokens, 25e6
    flash = 2 * PARAMETERS + 2 * ELEMENTS * tokens
    eager = flash + HEADS * tokens ** 2 * 2
    total = weights + kv + workspace
    return {"tokens": tokens, "weights_bytes": weights, "kv_bytes": kv, "kv_bits_per_element": bits,
            "workspace_bytes": workspace, "total_bytes": total, "reduction_eager": 1 - total / eager,
            "reduction_flash": 1 - total / flash}


def accuracy(kl, context):
    disagreement = min(.9, .35 * math.sqrt(kl) * (context / 1024) ** .1)
    return {"max_context_tokens": context, "accuracy": 1 - disagreement, "accuracy_low": 1 - 1.25 * disagreement - 1e-4,
            "kl_mean": kl, "kl_p99": 9 * kl, "perplexity_ratio": 1 + kl / 2, "samples": 1024}


def row(rng, name, group, bits, k, v, kl, techniques, weights, layers=None):
    loss = min(.8, 3 * kl)
    result = {"name": name, "config": f"k=int{k}-token v=int{v}-token sink=16 recent=128 chunk=256" if k < 16 else
              "k=bf16 v=bf16 sink=16 recent=0 chunk=256", "group": group, "techniques": techniques, "stage": "final",
              "failure": "", "chunk": 256, "memory": [memory(bits, weights, tokens) for tokens in LENGTHS],
              "accuracy": [accuracy(kl, context) for context in CONTEXTS],
              "speed": {"prefill_tokens_per_second": 180 + rng.gauss(0, 3),
                        "decode_tokens_per_second": 13.5 + 18 / (bits + 1) + rng.gauss(0, .12),
                        "context_tokens": 2048},
              "tasks": [{"task": task, "context": context, **scored(rng, loss, 40)}
                        for task, context in [("hotpotqa", 4096), ("vt", 4096), ("vt", 8192)]],
              "score": scored(rng, loss, 120), "frontier": []}
    if layers:
        result["layers"] = layers
    return result


def rows_of(rng, weights):
    rows = [row(rng, "bf16-c256", "reference", 16, 16, 16, 0.0, [], weights)]
    for k, v in [(8, 8), (8, 4), (8, 2), (4, 4), (4, 2), (2, 2)]:
        base = .6 * 4.0 ** -(min(k, v) - 2) + .02 * 4.0 ** -(max(k, v) - 2)
        rows.append(row(rng, f"paper-k{k}v{v}-g64", "paper", (k + v) / 2 + .53, k, v, base, ["smooth"], weights))
    for k, v in [(8, 8), (8, 4), (6, 4), (4, 4), (4, 2), (2, 2)]:
        for count in range(len(TECHNIQUES) + 1):
            for chosen in itertools.combinations(TECHNIQUES, count):
                kl = .6 * 4.0 ** -(min(k, v) - 2) + .02 * 4.0 ** -(max(k, v) - 2)
                for technique in chosen:
                    kl /= DIVIDES_KL_BY[technique]
                bits = (k + v) / 2 + .15 + .2 * ("recent" in chosen) + .02 * ("sink" in chosen)
                name = f"k{k}v{v}" + "".join("-" + technique.split()[0] for technique in chosen) + "-c256"
                rows.append(row(rng, name, "ours", bits, k, v, kl * rng.uniform(.8, 1.25), list(chosen), weights))
    layers = [{"k": f"int{8 if i < 2 else 4}-channel", "v": f"int{4 if i % 5 else 2}-token"} for i in range(LAYERS)]
    rows.append(row(rng, "evolved-17-c256", "ours", 3.9, 4, 2, .0031, TECHNIQUES + ["layers"], weights, layers))
    return rows


def mark_frontier(rows):
    for context in CONTEXTS:
        def worth(r):
            return (-r["memory"][0]["kv_bytes"], next(a for a in r["accuracy"] if a["max_context_tokens"] == context)
                    ["accuracy_low"])
        for one in rows:
            if not any(all(x >= y for x, y in zip(worth(other), worth(one))) and worth(other) != worth(one)
                       for other in rows):
                one["frontier"].append(context)


def sample():
    rng = random.Random(7)
    weights = []
    for kind, size in [("as-is", 2 * PARAMETERS), ("awq4", 1.15e9)]:
        rows = rows_of(rng, size)
        mark_frontier(rows)
        sensitivity = [{"layer": i, "k": {f"int{bits}-channel": .08 * 5.0 ** -(bits - 2) * rng.lognormvariate(0, .9)
                                          for bits in (2, 3, 4)},
                        "v": {f"int{bits}-token": .02 * 5.0 ** -(bits - 2) * rng.lognormvariate(0, .6)
                              for bits in (2, 3, 4)}} for i in range(LAYERS)]
        weights.append({"kind": kind, "file": f"sample-{kind}.gguf", "fingerprint": "5a" * 16, "bytes": size,
                        "file_bytes": size, "table": f"sample-{kind}.yaml", "calibration_sha256": "c0" * 32,
                        "rows": rows, "layer_sensitivity": sensitivity})
    model = {"name": "sample-1.5b", "full_name": "Invented sample model", "layers": LAYERS, "heads": HEADS,
             "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "parameters": PARAMETERS,
             "baselines": [{"tokens": t, "weights_bytes": 2 * PARAMETERS, "kv_bytes": 2 * ELEMENTS * t,
                            "scores_bytes": HEADS * t * t * 2,
                            "eager_bytes": 2 * PARAMETERS + 2 * ELEMENTS * t + HEADS * t * t * 2,
                            "flash_bytes": 2 * PARAMETERS + 2 * ELEMENTS * t} for t in LENGTHS],
             "tasks": [{"name": name, "kind": kind, "sha256": "ab" * 32,
                        "contexts": [{"context": c, "items": 40} for c in contexts]}
                       for name, kind, contexts in [("hotpotqa", "longbench", [4096]), ("vt", "vt", [4096, 8192])]],
             "weights": weights}
    return {"schema_version": 1, "tool_version": "sample", "command": "kvpareto-tune run sample.yaml",
            "date": "2026-01-01T00:00:00Z", "machine": "an invented machine", "spec_sha256": "d1" * 32, "seed": 1,
            "mode": "quick", "complete": True, "text": "sample.txt", "contexts": CONTEXTS, "decode_tokens": 128,
            "windows": 2, "memory_tokens": LENGTHS, "models": [model]}


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(sample(), out, indent=1)
