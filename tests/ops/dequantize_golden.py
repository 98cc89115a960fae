#!/usr/bin/env python3
"""Prints the rows of kGolden in dequantize_test.cc, from the reference decoders of the `gguf` package.

needs: pip install gguf numpy
The input bytes are drawn as RandomBlocks() in dequantize_test.cc draws them.
"""
import numpy as np
from gguf import GGMLQuantizationType, dequantize
from gguf.constants import GGML_QUANT_SIZES

ELEMENTS = 2048
MASK = (1 << 64) - 1
# Offsets of the bytes that carry the exponent of a float inside one block.
EXPONENTS = {"F32": [3], "F16": [1], "BF16": [1], "Q4_0": [1], "Q4_1": [1, 3], "Q5_0": [1], "Q5_1": [1, 3],
             "Q8_0": [1], "Q4_K": [1, 3], "Q5_K": [1, 3], "Q6_K": [209]}


def random_bytes(seed: int, count: int) -> np.ndarray:
    out = np.empty(count, np.uint8)
    state = seed
    for i in range(count):  # splitmix64
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out[i] = (z ^ (z >> 31)) & 255
    return out


def fnv1a(data: bytes) -> int:
    state = 0xCBF29CE484222325
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


for seed, (name, offsets) in enumerate(EXPONENTS.items(), 1):
    kind = GGMLQuantizationType[name]
    block_elements, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = random_bytes(seed, ELEMENTS // block_elements * block_bytes).reshape(-1, block_bytes)
    blocks[:, offsets] &= 0xBF  # no infinities, no NaN
    flat = blocks.reshape(1, -1)
    if name in ("F32", "F16"):
        values = flat.view(np.float32 if name == "F32" else np.float16).astype(np.float32).ravel()
    else:
        values = dequantize(flat, kind).astype(np.float32).ravel()
    first = ", ".join(float(v).hex() + "f" for v in values[[0, 17, 33]])
    print(f"    {{TensorType::k{name.replace('BF16', 'Bf16')}, {{{', '.join(map(str, offsets))}}}, "
          f"0x{fnv1a(values.tobytes()):016x}u, {{{first}}}}},")
