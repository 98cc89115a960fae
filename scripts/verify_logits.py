#!/usr/bin/env python3
"""Compares the engine's logits on a real model with the numpy oracle (tests/oracle), on real text, with exact and
quantized caches, in prefill and in decode.

usage: verify_logits.py MODEL --binary build/release/tests/oracle/engine_logits [--text FILE] [--tokens N]

Rounding K and V to 16 bits or less is not continuous: when the embeddings are changed by one part in ten million, the
oracle differs from itself, because some values fall to the other side of a rounding boundary. That is the noise floor
of the comparison, measured here for every config ("floor"); no two float32 implementations agree better. The engine
passes when its error is of that size (root mean square at most 2 floors, maximum at most 3), 99.9% of its logits
under the bf16 cache are within 1e-2 standard deviations (1.5 floors, where that is more), and every argmax is the same
but for ties closer than the floor. The bf16 paths (avx512-bf16, amx) have tolerances of their own. MODEL is a GGUF file or a Hugging Face directory.
Needs numpy and `tokenizers`, and for GGUF files `gguf` (pip). Exit code 1 on a failure.
"""
import argparse
import dataclasses
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from compare import engine_logits  # noqa: E402
from kv_cache import KvConfig  # noqa: E402
import model_files  # noqa: E402

# In standard deviations of the logits: what bf16 products in every layer add to the floor.
BF16_ISAS = ("avx512-bf16", "amx")
BF16_MAX_ERROR, BF16_RMS_ERROR = 2e-1, 3e-2
BF16 = "k=bf16 v=bf16 sink=16 recent=0 chunk=64"
CONFIGS = [
    BF16,
    "k=int8-token v=int8-token sink=16 recent=0 chunk=64",
    "k=int8-channel v=int8-token-g32 sink=16 recent=0 chunk=64",
    "k=int4-token-g32 v=int4-token-g32 sink=16 recent=0 chunk=64",
    "k=int4-channel v=int4-token sink=16 recent=64 chunk=64",
    "k=int4-block v=int8-channel sink=0 recent=0 chunk=64",
    "k=int2-channel v=int2-token-g32 sink=16 recent=0 chunk=64",
]


def tokenize(path, text, count):
    """The first `count` tokens of the text, by the model's own vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    if path.is_dir():
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    else:
        from gguf import GGUFReader
        fields = GGUFReader(path).fields
        tokens = fields["tokenizer.ggml.tokens"].contents()
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ids = tokenizer.encode(text[:count * 20]).ids[:count]
    if len(ids) < count:
        raise SystemExit(f"the text has only {len(ids)} tokens")
    return ids


@dataclasses.dataclass
class Distance:
    """Between two sets of logits [tokens, vocab], in units of the standard deviation of the first."""
    max: float
    rms: float
    p999: float
    agreement: float
    lost: float  # how far below its best the first one sees the second one's best token

    @staticmethod
    def between(expected, logits):
        deviation = expected.std()
        error = np.abs(logits - expected) / deviation
        rows = np.arange(len(expected))
        best, chosen = expected.argmax(1), logits.argmax(1)
        return Distance(float(error.max()), float(np.sqrt((error * error).mean())), float(np.quantile(error, 0.999)),
                        float((best == chosen).mean()),
                        float((expected[rows, best] - expected[rows, chosen]).max() / deviation))


def noise_floor(oracle, tokens, config, decode_from, expected):
    """The distance of the oracle from itself after a change of 1e-7 in its input: the largest of three."""
    name = "token_embd.weight"
    embedding = oracle.weights[name]
    tied = "output.weight" not in oracle.weights
    if tied:  # the head is not to change
        oracle.weights["output.weight"] = embedding
    distances = []
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal(len(tokens)).astype(np.float32)
        oracle.weights[name] = embedding.copy()
        oracle.weights[name][tokens] *= (1 + np.float32(1e-7) * np.sign(noise))[:, None]
        distances.append(Distance.between(expected, oracle.forward(tokens, config, decode_from)))
    oracle.weights[name] = embedding
    if tied:
        del oracle.weights["output.weight"]
    return Distance(*(max(getattr(d, f.name) for d in distances) for f in dataclasses.fields(Distance)))


def failure_of(error, floor, isa, quantized):
    """Empty if the engine passes."""
    bf16 = isa in BF16_ISAS
    if error.rms > 2 * floor.rms + (BF16_RMS_ERROR if bf16 else 0):
        return "rms error"
    if error.max > 3 * floor.max + (BF16_MAX_ERROR if bf16 else 0):
        return "max error"
    if not bf16 and not quantized and error.p999 > max(1e-2, 1.5 * floor.p999):
        return "99.9% error"
    if error.lost > 2 * floor.max + (BF16_MAX_ERROR if bf16 else 0):
        return "argmax differs"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "deploy/samples/northanger_abbey_prompt.txt")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--isa", choices=["scalar", "avx2", "avx512", *BF16_ISAS], default="avx512",
                        help="compute path (default avx512: float32)")
    parser.add_argument("--configs", nargs="*", default=CONFIGS, help="KV configs to compare")
    args = parser.parse_args()

    tokens = tokenize(args.model, args.text.read_text(), args.tokens)
    start = time.time()
    oracle = model_files.load(args.model)
    print(f"{args.model.name}: {args.tokens} tokens, {args.isa}; oracle loaded in {time.time() - start:.0f} s")
    print("errors in standard deviations of the logits; in brackets the floor; effect: rms change by the codec")
    failures = 0
    exact = oracle.forward(tokens, KvConfig.parse(BF16))
    for text in args.configs:
        for decode_from in (-1, args.tokens * 5 // 8):
            config = KvConfig.parse(text)
            expected = oracle.forward(tokens, config, decode_from)
            floor = noise_floor(oracle, tokens, config, decode_from, expected)
            logits = engine_logits(args.binary, args.model, tokens, text, decode_from, args.isa)
            error = Distance.between(expected, logits)
            failure = failure_of(error, floor, args.isa, "int" in text)
            failures += bool(failure)
            effect = Distance.between(expected, exact).rms
            path = "prefill" if decode_from < 0 else f"decode from {decode_from}"
            print(f"rms {error.rms:.1e} ({floor.rms:.1e})  max {error.max:.1e} ({floor.max:.1e})  99.9% {error.p999:.1e} "
                  f"({floor.p999:.1e})  argmax {error.agreement:.4f} ({floor.agreement:.4f})  effect {effect:.1e}  "
                  f"{failure or 'ok':18s} {text}, {path}", flush=True)
    print("FAILED" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
