#!/usr/bin/env python3
"""The tuner's metrics and prompts against task_scoring.py, on random and on awkward texts.

usage: task_scoring_test.py TASK_PROBE
"""
import json
import pathlib
import random
import string
import subprocess
import sys
import tempfile

import task_scoring as oracle

ROUNDS = 400  # random texts of each metric

WORDS = ["the", "a", "an", "The", "A.", "theatre", "Ann", "fox", "Fox!", "red", "re-d", "one's", "\u00C9cole", "\u00E9cole",
         "na\u00EFve", "\u201Cthe\u201D", "\u0391\u0398\u0397\u039D\u0391", "a\u2014b", "\u0130zmir", "\u4E2D\u6587", "\u00DF", "x_y", "1st",
         "\u00BD", "\uFF21"]
SPACES = [" ", "  ", "\n", "\t", "\u00A0", "\u3000", "\u2009"]
NUMBERS = ["7", "7.", "-7", "$7", "1,000", "1000", "1000.", "3.50", "3.5", "#### 7", "#### -7", "####7", "#### ", "$", ".", ",",
           "..", "12", "-", "--4", "x9y"]


class Probe:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the probe ended at {request}")
        return json.loads(line)

    def items(self, spec):
        reply = self.ask(op="items", **spec)
        if "error" in reply:
            sys.exit(reply["error"])
        return reply["items"]


class Checks:
    def __init__(self):
        self.done = self.failed = 0

    def equal(self, found, expected, what):
        self.done += 1
        if found != expected:
            self.failed += 1
            print(f"{what}\n  found    {found!r}\n  expected {expected!r}")


def random_text(rng, words):
    return "".join(rng.choice(words) + rng.choice(SPACES) for _ in range(rng.randrange(6)))


def check_metrics(probe, checks):
    rng = random.Random(1)
    for metric, score in oracle.METRICS.items():
        words = NUMBERS + ["is", "so"] if metric.startswith("number") else WORDS + list(string.punctuation)
        for _ in range(ROUNDS):
            output = random_text(rng, words)
            references = [random_text(rng, words) for _ in range(rng.randrange(1, 4))]
            found = probe.ask(op="score", metric=metric, output=output, references=references)["score"]
            checks.equal(found, score(output, references), f"{metric} of {output!r} against {references!r}")


def write_rows(folder, name, rows):
    path = pathlib.Path(folder, name)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def line_of(item):
    return int(item["id"].split()[1]) - 1


def check_longbench(probe, checks, folder):
    rng = random.Random(2)
    for dataset, (prompt, new_tokens) in oracle.LONGBENCH.items():
        rows = [{"input": f"What is {i}?", "context": " ".join(rng.choices(["alpha", "beta", "gamma."], k=size)),
                 "answers": [str(i)], "dataset": dataset} for i, size in enumerate([5, 50, 900])]
        path = write_rows(folder, "longbench.jsonl", rows)
        items = probe.items({"kind": "longbench", "path": path, "max_prompt_tokens": 601})
        checks.equal(len(items), len(rows), dataset)
        for item in items:
            row = rows[line_of(item)]
            pieces = probe.ask(op="pieces", text=prompt.format(**row))["pieces"]
            checks.equal(item["prompt"], oracle.chat(oracle.truncate_middle(pieces, 601)), f"{dataset} prompt")
            checks.equal((item["max_new_tokens"], item["metric"], item["references"]),
                         (new_tokens, "f1", row["answers"]), dataset)


def check_gsm8k(probe, checks, folder):
    rows = [{"question": f"What is {i} + {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"} for i in range(9)]
    items = probe.items({"kind": "gsm8k", "path": write_rows(folder, "gsm8k.jsonl", rows), "shots": 5})
    checks.equal(len(items), 4, "questions that are no examples")
    for item in items:
        row = rows[line_of(item)]
        checks.equal(item["prompt"], oracle.gsm8k_prompt(rows[:5], row), "gsm8k prompt")
        checks.equal(item["stop_strings"], ["Question:", "</s>", "<|im_end|>"], "gsm8k stops")


def check_mmlu(probe, checks, folder):
    def row(subject, i):
        return {"question": f" {subject} {i}? ", "choices": [f"c{j}" for j in range(4)], "answer": i % 4,
                "subject": subject}
    shots = [row(subject, i) for i in range(3) for subject in ("high_school_physics", "law")]
    rows = [row(subject, 10 + i) for i in range(2) for subject in ("law", "high_school_physics")]
    items = probe.items({"kind": "mmlu", "path": write_rows(folder, "test.jsonl", rows), "shots": 2,
                         "shots_path": write_rows(folder, "dev.jsonl", shots)})
    checks.equal(len(items), len(rows), "mmlu questions")
    for item in items:
        asked = rows[line_of(item)]
        examples = [shot for shot in shots if shot["subject"] == asked["subject"]][:2]
        checks.equal(item["prompt"], oracle.mmlu_prompt(examples, asked), "mmlu prompt")
        checks.equal((item["options"], item["right"]), ([" A", " B", " C", " D"], asked["answer"]), "mmlu choices")


def main():
    probe, checks = Probe(sys.argv[1]), Checks()
    check_metrics(probe, checks)
    with tempfile.TemporaryDirectory() as folder:
        check_longbench(probe, checks, folder)
        check_gsm8k(probe, checks, folder)
        check_mmlu(probe, checks, folder)
    probe.process.stdin.close()
    probe.process.wait(timeout=60)
    print(f"{checks.done} comparisons, {checks.failed} failures")
    return 1 if checks.failed or not checks.done else 0


if __name__ == "__main__":
    sys.exit(main())
