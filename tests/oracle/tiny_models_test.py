#!/usr/bin/env python3
"""Whole-model test: the engine's logits against the numpy oracle, on tiny random models of every architecture, file
format, head size and RoPE scaling, with exact and quantized caches, in prefill and decode, on every instruction set
that this machine has.

usage: tiny_models_test.py ENGINE_LOGITS [--isa scalar avx2 avx512 avx512-bf16 amx] [--only NAME]
Needs numpy.
"""
import argparse
import dataclasses
import pathlib
import re
import sys
import tempfile

import numpy as np

from compare import Comparison, EngineError, Tolerance, compare, engine_logits
from kv_cache import KvConfig
import tiny_models

TOKENS = 341

# Float32 arithmetic; or prefill from products of bf16 values, whose 8 bits of mantissa leave each factor off by up to
# 2^-9, in every matrix of two or three layers, so that codes of a quantized cache often fall to the other side too.
EXACT = Tolerance(max_error=1e-2, rms_error=5e-4, effect_share=0.1)
BF16_PRODUCTS = Tolerance(max_error=2e-1, rms_error=1.5e-2, effect_share=0.4)
TOLERANCES = {"scalar": EXACT, "avx2": EXACT, "avx512": EXACT, "avx512-bf16": BF16_PRODUCTS, "amx": BF16_PRODUCTS}
# Codes of up to 4 bits are decoded with bytes there: a tenth of what they do themselves (docs/decisions/0007).
FEW_BITS = re.compile("int[234]")
BYTE_FACTORS = dataclasses.replace(EXACT, effect_share=0.15)


def tolerance_of(isa, config):
    return BYTE_FACTORS if isa == "avx512" and FEW_BITS.search(config) else TOLERANCES[isa]


BF16 = "k=bf16 v=bf16 sink=16 recent=0 chunk=64"
# (config, first decoded position)
CASES = [
    (BF16, -1),
    ("k=bf16 v=bf16 sink=0 recent=100 chunk=256", 270),
    ("k=int8-channel v=int8-token sink=16 recent=0 chunk=64", -1),
    ("k=int4-channel v={token} sink=16 recent=65 chunk=128", 290),
    ("k={token} v=int4-channel sink=33 recent=0 chunk=64", 200),
    ("k=int2-channel v=int2-token sink=0 recent=0 chunk=192", 210),
    ("k=int8-block v=int8-channel sink=16 recent=1 chunk=64 layers=1:bf16/int4-token", 300),
    ("k=int4-token v=int4-token sink=16 recent=0 chunk=64 krot=hadamard vrot=hadamard", 250),
]


def cases(shape):
    token = "int4-token-g32" if shape.head_dim % 32 == 0 else "int4-token"
    return [(config.format(token=token), decode_from) for config, decode_from in CASES]


class Checker:
    def __init__(self, binary, isas):
        self.binary, self.isas = binary, list(isas)
        self.failures = self.comparisons = 0

    def check_model(self, shape, folder):
        path, oracle = tiny_models.write(shape, folder)
        tokens = np.random.default_rng(shape.seed).integers(0, 256, TOKENS).tolist()
        exact = oracle.forward(tokens, KvConfig.parse(BF16))
        for text, decode_from in cases(shape):
            config = KvConfig.parse(text)
            expected = oracle.forward(tokens, config, decode_from)
            late = None
            if "int" in text:  # what a cache that seals one block later would give
                late = oracle.forward(tokens, dataclasses.replace(config, recent=config.recent + 64), decode_from)
            for isa in list(self.isas):
                result = self.check(isa, path, tokens, text, decode_from, expected, late, exact)
                if result:
                    print(f"{shape.name:27s} {isa:11s} {result.row()}  {text} decode_from={decode_from}", flush=True)

    def check(self, isa, path, tokens, text, decode_from, expected, late, exact):
        try:
            logits = engine_logits(self.binary, path, tokens, text, decode_from, isa)
        except EngineError as error:
            if isa != "scalar" and "CPU_ISA_UNAVAILABLE" in str(error):
                print(f"this machine has no {isa}")
                self.isas.remove(isa)
                return None
            print(error)
            self.failures += 1
            return None
        reference = exact if late is not None else None
        tolerance = tolerance_of(isa, text)
        result = compare(logits, expected, tolerance, reference)
        # The judge must be able to tell the wrong cache from the right one; bf16 products are too coarse for that.
        if late is not None and tolerance is not BF16_PRODUCTS and not result.failure:
            if not compare(logits, late, tolerance, reference).failure:
                result.failure = "cannot tell from sealing one block later"
        self.failures += bool(result.failure)
        self.comparisons += 1
        return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--isa", choices=TOLERANCES, nargs="+", default=list(TOLERANCES))
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print(f"{'':27s} {'':11s} {Comparison.HEADER}")
    checker = Checker(args.binary, args.isa)
    with tempfile.TemporaryDirectory() as folder:
        for shape in tiny_models.SHAPES:
            if args.only in shape.name:
                checker.check_model(shape, pathlib.Path(folder, shape.name))
    print(f"{checker.comparisons} comparisons, {checker.failures} failures")
    return 1 if checker.failures or not checker.comparisons else 0


if __name__ == "__main__":
    sys.exit(main())
