#!/usr/bin/env python3
"""Converts HotpotQA's distractor JSON into LongBench's JSONL, for `kind: longbench` tasks (docs/tasks.md).

usage: hotpotqa_to_longbench.py hotpot_dev_distractor_v1.json --out hotpotqa.jsonl [--words 3000] [--first 0 --rows 500]

A row's ten passages become its context. With --words, passages of other rows are added and all are shuffled until the
context has about so many words: LongBench's own files have 9,151 on average. The same arguments give the same file.
"""
import argparse
import json
import random
import sys


def passages(row):
    return [(title, "".join(sentences)) for title, sentences in row["context"]]


def padded(own, rows, words, rng):
    """`own` and passages of random other rows, about `words` words of them, in random order."""
    chosen, titles = list(own), {title for title, _ in own}
    size = sum(len(text.split()) for _, text in chosen)
    for _ in range(100 * len(rows)):
        if size >= words:
            break
        title, text = rng.choice(passages(rng.choice(rows)))
        if title not in titles:
            titles.add(title)
            chosen.append((title, text))
            size += len(text.split())
    rng.shuffle(chosen)
    return chosen


def convert(row, rows, words):
    chosen = passages(row)
    if words:
        chosen = padded(chosen, rows, words, random.Random(row["_id"]))
    context = "\n\n".join(f"Passage {i}:\n{title}\n{text}" for i, (title, text) in enumerate(chosen, 1))
    return {"input": row["question"], "context": context, "answers": [row["answer"]],
            "length": len(context.split()), "dataset": "hotpotqa", "language": "en", "all_classes": None,
            "_id": row["_id"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--out", required=True)
    parser.add_argument("--words", type=int, default=0, help="of a context, about; 0: the row's own passages")
    parser.add_argument("--first", type=int, default=0, help="first row that is converted")
    parser.add_argument("--rows", type=int, default=0, help="how many are; 0: all")
    args = parser.parse_args()
    with open(args.source, encoding="utf-8") as file:
        rows = json.load(file)
    last = args.first + args.rows if args.rows else len(rows)
    chosen = rows[args.first:last]
    if not chosen:
        sys.exit(f"{args.source} has {len(rows)} rows: none from {args.first} on")
    with open(args.out, "w", encoding="utf-8") as out:
        for row in chosen:
            out.write(json.dumps(convert(row, chosen, args.words), ensure_ascii=False) + "\n")
    print(f"{len(chosen)} rows written to {args.out}")


if __name__ == "__main__":
    main()
