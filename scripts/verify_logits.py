#!/usr/bin/env python3
"""Compares the engine's logits on a real model with the numpy oracle (tests/oracle), on real text, with exact and
quantized caches, in prefill and in decode.

usage: verify_logits.py MODEL --binary build/release/tests/oracle/engine_logits [--text FILE] [--tokens N]

With the bf16 cache every logit must be within 1e-2 standard deviations and every argmax the same. With a quantized
cache the root mean square error must stay within a tenth of what the codec itself changes. MODEL is a GGUF file or a
Hugging Face directory. Needs numpy, and for GGUF files `gguf` and `tokenizers` (pip). Exit code 1 on a failure.
"""
import argparse
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from compare import Comparison, Tolerance, compare, engine_logits  # noqa: E402
from kv_cache import KvConfig  # noqa: E402
import model_files  # noqa: E402

TOLERANCES = {
    "scalar": Tolerance(max_error=1e-2, rms_error=1e-3, effect_share=0.1),
    "avx512": Tolerance(max_error=1e-2, rms_error=1e-3, effect_share=0.1),
    "amx": Tolerance(max_error=2e-1, rms_error=3e-2, effect_share=0.5),
}
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "deploy/samples/northanger_abbey_prompt.txt")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--isa", choices=TOLERANCES, default="avx512", help="compute path (default: float32)")
    parser.add_argument("--configs", nargs="*", default=CONFIGS, help="KV configs to compare")
    args = parser.parse_args()

    tokens = tokenize(args.model, args.text.read_text(), args.tokens)
    start = time.time()
    oracle = model_files.load(args.model)
    print(f"{args.model.name}: {args.tokens} tokens, {args.isa}; oracle loaded in {time.time() - start:.0f} s")
    print(f"{Comparison.HEADER}  config, first decoded position")

    failures = 0
    exact = oracle.forward(tokens, KvConfig.parse(BF16))
    for text in args.configs:
        for decode_from in (-1, args.tokens * 5 // 8):
            config = KvConfig.parse(text)
            quantized = "int" in text
            expected = oracle.forward(tokens, config, decode_from)
            logits = engine_logits(args.binary, args.model, tokens, text, decode_from, args.isa)
            result = compare(logits, expected, TOLERANCES[args.isa], exact if quantized else None)
            if not quantized and args.isa != "amx" and result.agreement < 1:
                result.failure = result.failure or "argmax differs"
            failures += bool(result.failure)
            print(f"{result.row()}  {text} {decode_from}", flush=True)
    print("FAILED" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
