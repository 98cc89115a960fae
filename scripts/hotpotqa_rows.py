#!/usr/bin/env python3
"""Turns HotpotQA's distractor file into LongBench rows (JSON lines) for kvpareto-tune.

usage: hotpotqa_rows.py HOTPOT.json OUT.jsonl [--first N] [--rows N] [--words N] [--seed N]

Each row's ten paragraphs are mixed with paragraphs of other rows, drawn by the seed, until the context
has about --words words (0: none are added). HotpotQA is CC BY-SA 4.0: nothing of it is in this
repository.
"""
import argparse
import json
import random


def paragraph(title: str, sentences: list) -> str:
    return title + "\n" + "".join(sentences).strip()


def context_of(row: dict, others: list, words: int, draw: random.Random) -> str:
    paragraphs = [paragraph(*p) for p in row["context"]]
    titles = {p[0] for p in row["context"]}
    count = sum(len(p.split()) for p in paragraphs)
    while count < words:
        title, sentences = draw.choice(draw.choice(others)["context"])
        if title in titles:
            continue
        titles.add(title)
        paragraphs.append(paragraph(title, sentences))
        count += len(paragraphs[-1].split())
    draw.shuffle(paragraphs)
    return "\n\n".join(f"Passage {i + 1}:\n{text}" for i, text in enumerate(paragraphs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with open(options.source, encoding="utf-8") as file:
        rows = json.load(file)
    draw = random.Random(options.seed)
    chosen = rows[options.first:options.first + options.rows]
    with open(options.out, "w", encoding="utf-8") as out:
        for row in chosen:
            context = context_of(row, rows, options.words, draw)
            out.write(json.dumps({"input": row["question"], "context": context,
                                  "answers": [row["answer"]], "dataset": "hotpotqa",
                                  "length": len(context.split())}, ensure_ascii=False) + "\n")
    print(f"{len(chosen)} rows written to {options.out}")


if __name__ == "__main__":
    main()
