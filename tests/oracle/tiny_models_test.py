#!/usr/bin/env python3
"""Whole-model test: the engine's logits against the numpy oracle, on tiny random models of every architecture, file
format, head size and RoPE scaling, with exact and quantized caches, in prefill and decode.

usage: tiny_models_test.py ENGINE_LOGITS [--isa scalar|avx512|amx] [--only NAME]
Needs numpy. Exit code 77: this machine lacks the instruction set.
"""
import argparse
import dataclasses
import pathlib
import sys
import tempfile

import numpy as np

from compare import Comparison, EngineError, Tolerance, compare, engine_logits
from kv_cache import KvConfig
import tiny_models

TOKENS = 401
UNAVAILABLE = 77

# Float32 arithmetic, or prefill products of bf16 values (8 bits of mantissa: each factor is off by up to 2^-9).
TOLERANCES = {
    "scalar": Tolerance(max_error=1e-2, rms_error=5e-4, effect_share=0.1),
    "avx512": Tolerance(max_error=1e-2, rms_error=5e-4, effect_share=0.1),
    "amx": Tolerance(max_error=1e-1, rms_error=1e-2, effect_share=0.3),
}

BF16 = "k=bf16 v=bf16 sink=16 recent=0 chunk=64"
# (config, first decoded position)
CASES = [
    (BF16, -1),
    ("k=bf16 v=bf16 sink=0 recent=100 chunk=256", 300),
    ("k=int8-channel v=int8-token sink=16 recent=0 chunk=64", -1),
    ("k=int4-channel v={token} sink=16 recent=128 chunk=128", 290),
    ("k={token} v=int4-channel sink=33 recent=0 chunk=64", 200),
    ("k=int2-channel v=int2-token sink=0 recent=0 chunk=192", 210),
    ("k=int8-block v=int8-channel sink=16 recent=1 chunk=64 layers=1:bf16/int4-token", 333),
]


def cases(shape):
    token = "int4-token-g32" if shape.head_dim % 32 == 0 else "int4-token"
    return [(config.format(token=token), decode_from) for config, decode_from in CASES]


def check_model(shape, folder, binary, isa):
    """Returns the number of failures."""
    path, oracle = tiny_models.write(shape, folder)
    tokens = np.random.default_rng(shape.seed).integers(0, 256, TOKENS).tolist()
    failures = 0
    for text, decode_from in cases(shape):
        config = KvConfig.parse(text)
        logits = engine_logits(binary, path, tokens, text, decode_from, isa)
        expected = oracle.forward(tokens, config, decode_from)
        exact = None
        if "int" in text:
            exact = oracle.forward(tokens, KvConfig.parse(BF16))
        result = compare(logits, expected, TOLERANCES[isa], exact)
        # The judge must be able to tell a cache that seals one block later from the right one.
        if not result.failure and exact is not None:
            late = dataclasses.replace(config, recent=config.recent + 64)
            if not compare(logits, oracle.forward(tokens, late, decode_from), TOLERANCES[isa], exact).failure:
                result.failure = "cannot tell from sealing one block later"
        failures += bool(result.failure)
        print(f"{shape.name:27s} {result.row()}  {text} decode_from={decode_from}", flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--isa", choices=TOLERANCES, default="scalar")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print(f"{'':27s} {Comparison.HEADER}")
    failures = checked = 0
    with tempfile.TemporaryDirectory() as folder:
        for shape in tiny_models.SHAPES:
            if args.only not in shape.name:
                continue
            checked += 1
            try:
                failures += check_model(shape, pathlib.Path(folder, shape.name), args.binary, args.isa)
            except EngineError as error:
                if "CPU_ISA_UNAVAILABLE" in str(error):
                    print(f"this machine has no {args.isa}")
                    return UNAVAILABLE
                print(f"{shape.name}: {error}")
                failures += 1
    print(f"{checked} models, {failures} failures")
    return 1 if failures or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
