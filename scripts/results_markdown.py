#!/usr/bin/env python3
"""Prints what a tuning run found as Markdown tables as its documents show them.

usage: results_markdown.py RESULTS.json

Of every model: the finished rows by bits, with total memory against both baselines and task scores
against the bf16 cache; the best rows of each group at losses of 1% and 3%; and of the paper's formats
which row of ours has fewer bits and scores no worse.
"""
import json
import sys

LOSSES = (0.01, 0.03)


def bits(row):
    return row["memory"][0]["kv_bits_per_element"]


def percent(value):
    return f"{100 * value:.1f}%"


def interval(relative):
    if relative is None:
        return ""
    return f"{100 * relative['value']:+.1f}% ({100 * relative['low']:+.1f}..{100 * relative['high']:+.1f})"


def relative(row):
    return row["score"] and row["score"]["relative"]


def header(names):
    return "| " + " | ".join(names) + " |\n|" + "---|" * len(names)


def frontier_table(rows, lengths):
    names = ["config", "group", "bits"]
    for tokens in lengths:
        names += [f"total at {tokens}, MB", "eager", "flash"]
    print(header(names + ["top-1", "mean KL", "task score beside bf16", "decode tok/s"]))
    for row in rows:
        cells = [f"`{row['name']}`", row["group"], f"{bits(row):.2f}"]
        for memory in row["memory"]:
            cells += [f"{memory['total_bytes'] / 1e6:.0f}", percent(memory["reduction_eager"]),
                      percent(memory["reduction_flash"])]
        last = row["accuracy"][-1] if row["accuracy"] else None
        cells += [f"{last['accuracy']:.4f}" if last else "", f"{last['kl_mean']:.2g}" if last else "",
                  interval(relative(row)),
                  f"{row['speed']['decode_tokens_per_second']:.0f}" if row["speed"] else ""]
        print("| " + " | ".join(cells) + " |")


def best_within(rows, group, loss):
    """The fewest bits whose mean score loses no more; the interval may reach below."""
    fitting = [r for r in rows if r["group"] == group and relative(r)
               and relative(r)["value"] >= -loss]
    return min(fitting, key=bits, default=None)


def best_table(rows, lengths):
    print(header(["loss at most", "group", "config", "bits", "task score beside bf16"]
                 + [f"reduction at {t}: eager, flash" for t in lengths]))
    for loss in LOSSES:
        for group in ("ours", "paper"):
            row = best_within(rows, group, loss)
            if row is None:
                print(f"| {percent(loss)} | {group} | none | | |" + " |" * len(lengths))
                continue
            cells = [percent(loss), group, f"`{row['name']}`", f"{bits(row):.2f}",
                     interval(relative(row))]
            cells += [f"{percent(m['reduction_eager'])}, {percent(m['reduction_flash'])}"
                      for m in row["memory"]]
            print("| " + " | ".join(cells) + " |")


def dominance_table(rows):
    print(header(["paper's format", "bits", "score", "KL", "ours with fewer bits, no worse score",
                  "bits", "score", "KL"]))
    for paper in (r for r in rows if r["group"] == "paper" and r["score"]):
        better = [r for r in rows if r["group"] == "ours" and r["score"] and bits(r) < bits(paper)
                  and r["score"]["score"] >= paper["score"]["score"]]
        best = max(better, key=lambda r: (r["score"]["score"], -bits(r)), default=None)

        def cells(row):
            if row is None:
                return ["none", "", "", ""]
            return [f"`{row['name']}`", f"{bits(row):.2f}", f"{row['score']['score']:.3f}",
                    f"{row['accuracy'][-1]['kl_mean']:.2g}"]

        print("| " + " | ".join(cells(paper) + cells(best)) + " |")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        results = json.load(file)
    lengths = results["memory_tokens"]
    for model in results["models"]:
        for baseline in model["baselines"]:
            print(f"{model['full_name']}, baselines at {baseline['tokens']} tokens: eager "
                  f"{baseline['eager_bytes'] / 1e6:.0f} MB, flash {baseline['flash_bytes'] / 1e6:.0f} MB")
        for weights in model["weights"]:
            rows = sorted((r for r in weights["rows"] if r["stage"] == "final"), key=bits)
            print(f"\n{weights['kind']}, {weights['bytes'] / 1e6:.0f} MB of weights, "
                  f"{len(weights['rows'])} configs tried, {len(rows)} finished\n")
            frontier_table(rows, lengths)
            print()
            best_table(rows, lengths)
            print()
            dominance_table(rows)


if __name__ == "__main__":
    main()
