#!/usr/bin/env python3
"""Compares the engine's tokenizers with independent ones, id by id, on thousands of generated lines per family.

usage: verify_tokenizer.py [MODEL...] --binary build/release/tests/text/tools/encode_lines [--lines N] [--trained]

MODEL is a GGUF file or a Hugging Face directory; its reference is the library `tokenizers`. --trained adds the families
whose vocabularies are trained on the spot: GPT-2, Llama-3, and SentencePiece as Llama-2 (tokenizer.json) and Mistral
(Metaspace) have it, and, with the library `sentencepiece` as the reference, as a GGUF file. Every line is encoded twice, with
special tokens parsed and as plain text, and decoded again. Needs `tokenizers`, for GGUF files `gguf`, and for the trained
SentencePiece families `sentencepiece` and `numpy` (pip). Exit code 1 on a difference.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "text" / "tools"))

import tokenizer_families as families  # noqa: E402
from text_lines import lines as generate_lines  # noqa: E402
from tokenizers import Tokenizer, normalizers  # noqa: E402


class TokenizersReference:
    """`tokenizers`, with special tokens in the text parsed or not."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.added_texts = [token.content for token in added.values()]

    def normalized(self, lines):
        """`tokenizers` normalizes by the tables of Unicode 9, which know no order for the combining marks added since. A line
        where this shows is given to it in the NFC of Python's tables instead."""
        if not isinstance(self.tokenizer.normalizer, normalizers.NFC):
            return lines
        nfc = [unicodedata.normalize("NFC", line) for line in lines]
        stale = [self.tokenizer.normalizer.normalize_str(line) != new for line, new in zip(lines, nfc)]
        if any(stale):
            print(f"{sum(stale)} lines with combining marks that the reference's normalizer does not know")
        return [new if old else line for line, new, old in zip(lines, nfc, stale)]

    def encode(self, lines, parse_special):
        self.tokenizer.encode_special_tokens = not parse_special
        lines = self.normalized(lines)
        return [e.ids for e in self.tokenizer.encode_batch(lines, add_special_tokens=False)]

    def decode(self, ids):
        return [self.tokenizer.decode(line, skip_special_tokens=True) for line in ids]


class SentencePieceReference:
    added_texts = []

    def __init__(self, processor):
        self.processor = processor

    def encode(self, lines, parse_special):
        return [self.processor.encode(line) for line in lines]

    def decode(self, ids):
        return [self.processor.decode(line) for line in ids]


def run(binary, model, options, items):
    text = "".join(json.dumps(item) + "\n" for item in items)
    done = subprocess.run([binary, model, *options], input=text.encode(), stdout=subprocess.PIPE, check=True)
    out = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    if len(out) != len(items):
        raise SystemExit(f"{model}: {len(items)} lines in, {len(out)} out")
    return out


def report(name, what, items, ours, theirs):
    """Prints the count and the first differences; returns how many there are."""
    wrong = [i for i in range(len(items)) if ours[i] != theirs[i]]
    print(f"{name:44} {what:22} {len(items) - len(wrong):6} of {len(items)} identical", flush=True)
    for i in wrong[:3]:
        print(f"  input     {items[i]!r}\n  ours      {ours[i]!r}\n  reference {theirs[i]!r}")
    return len(wrong)


def compare(name, binary, model, reference, count, seed):
    lines = generate_lines(count, reference.added_texts, seed)
    wrong = 0
    for parse_special in (True, False):
        ids = run(binary, model, ["--parse-special"] if parse_special else [], lines)
        theirs = reference.encode(lines, parse_special)
        what = "specials parsed" if parse_special else "specials as text"
        wrong += report(name, what, lines, ids, theirs)
    return wrong + report(name, "decoded", theirs, run(binary, model, ["--decode"], theirs), reference.decode(theirs))


def reference_of(model):
    if model.is_dir():
        return TokenizersReference(Tokenizer.from_file(str(model / "tokenizer.json")))
    return TokenizersReference(families.from_gguf(model))


def trained_families(folder, corpus):
    """(name, path, reference) of the tokenizers trained on `corpus`."""
    def directory(name, tokenizer):
        path = pathlib.Path(folder) / name
        path.mkdir()
        return name, families.write_directory(path, tokenizer), TokenizersReference(tokenizer)

    yield directory("gpt2-trained", families.train_byte_level("gpt-2", corpus))
    yield directory("llama3-trained", families.train_byte_level("llama-bpe", corpus))
    yield directory("qwen2-trained", families.train_byte_level("qwen2", corpus))
    processor = families.sentencepiece_model(corpus)
    yield directory("llama2-trained", families.llama2_tokenizer(processor, metaspace=False))
    yield directory("mistral-trained", families.llama2_tokenizer(processor, metaspace=True))
    gguf = families.write_gguf(pathlib.Path(folder) / "sentencepiece-trained.gguf", processor)
    yield gguf.name, gguf, SentencePieceReference(processor)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--lines", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trained", action="store_true")
    args = parser.parse_args()
    wrong = 0
    for model in args.models:
        wrong += compare(model.name, args.binary, model, reference_of(model), args.lines, args.seed)
    if args.trained:
        with tempfile.TemporaryDirectory() as folder:
            corpus = generate_lines(8000, [], seed=args.seed + 1000)
            for name, path, reference in trained_families(folder, corpus):
                wrong += compare(name, args.binary, path, reference, args.lines, args.seed)
    print("all identical" if wrong == 0 else f"{wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
