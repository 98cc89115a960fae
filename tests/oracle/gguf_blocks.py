"""Random tensors in every GGUF weight format that the engine reads: their bytes and the values they stand for.

Each maker returns (bytes [rows, row bytes] uint8, values [rows, cols] float32) with a standard deviation of about
`std`. The codes are random bits, so every code and every scale occurs.
"""
import numpy as np

BLOCK_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
TYPE_IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13,
            "Q6_K": 14, "BF16": 30}


def make(kind, rng, rows, cols, std):
    if kind in ("F32", "F16", "BF16"):
        return plain(kind, rng, rows, cols, std)
    elements = 256 if kind.endswith("_K") else 32
    blocks = rows * cols // elements
    unit = MAKERS[kind]
    # The values are linear in the float16 factors: a first pass with factor 1 tells the factor for `std`.
    state = rng.bit_generator.state
    _, values = unit(rng, blocks, np.float16(1))
    factor = np.float16(std / values.std())
    rng.bit_generator.state = state
    data, values = unit(rng, blocks, factor)
    return data.reshape(rows, -1), values.astype(np.float32).reshape(rows, cols)


def plain(kind, rng, rows, cols, std):
    # Values that bf16 holds: the engine keeps float matrices in bf16.
    bits = (rng.standard_normal((rows, cols)) * std).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    values = bits.view(np.float32)
    if kind == "F16":
        values = np.where(np.abs(values) < 2.0**-14, np.float32(0), values)  # no subnormals: both formats hold it
    data = {"F32": lambda: values, "F16": lambda: values.astype("<f2"),
            "BF16": lambda: (values.view(np.uint32) >> 16).astype("<u2")}[kind]()
    return data.view(np.uint8).reshape(rows, -1), values


def random_bytes(rng, blocks, count):
    return rng.integers(0, 256, (blocks, count), dtype=np.uint8)


def half_bytes(values):
    return np.asarray(values, "<f2").reshape(-1, 1).view(np.uint8)


def factors(rng, blocks, factor):
    """One float16 factor per block, around `factor`."""
    return (np.float32(factor) * rng.uniform(0.7, 1.3, blocks)).astype(np.float16)


def nibbles(qs):
    """[blocks, n] bytes -> [blocks, 2n]: all low nibbles, then all high ones."""
    return np.concatenate([qs & 15, qs >> 4], axis=1).astype(np.int32)


def bits32(qh):
    """[blocks, 4] bytes -> [blocks, 32] bits, lowest first."""
    return np.unpackbits(qh, axis=1, bitorder="little").astype(np.int32)


def small_block(bits, has_min):
    def unit(rng, blocks, factor):
        d = factors(rng, blocks, factor)
        m = (np.float32(factor) * -(2.0**(bits - 1) - 0.5) * rng.uniform(0.9, 1.1, blocks)).astype(np.float16)
        qh = random_bytes(rng, blocks, 4) if bits == 5 else None
        qs = random_bytes(rng, blocks, 16)
        codes = nibbles(qs) if qh is None else nibbles(qs) | bits32(qh) << 4
        d32, m32 = d.astype(np.float32)[:, None], m.astype(np.float32)[:, None]
        values = codes * d32 + m32 if has_min else (codes - 2**(bits - 1)) * d32
        parts = [half_bytes(d)] + ([half_bytes(m)] if has_min else []) + ([qh] if qh is not None else []) + [qs]
        return np.concatenate(parts, axis=1), values
    return unit


def q8_0(rng, blocks, factor):
    d = factors(rng, blocks, factor)
    codes = rng.integers(-127, 128, (blocks, 32), dtype=np.int8)
    return np.concatenate([half_bytes(d), codes.view(np.uint8)], axis=1), codes * d.astype(np.float32)[:, None]


def six_bit_scales(packed):
    """[blocks, 12] bytes -> scales and minima, [blocks, 8] each: 6 bits, as Q4_K and Q5_K pack them."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([low & 63, high & 15 | low >> 6 << 4], axis=1)
    minima = np.concatenate([middle & 63, high >> 4 | middle >> 6 << 4], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def k_block(bits):
    """Q4_K and Q5_K: 8 runs of 32 codes; two runs share 32 bytes, low nibbles first."""
    def unit(rng, blocks, factor):
        d = factors(rng, blocks, factor)
        d_min = (np.float32(factor) * (2.0**(bits - 1) - 0.5) * rng.uniform(0.9, 1.1, blocks)).astype(np.float16)
        packed, qs = random_bytes(rng, blocks, 12), random_bytes(rng, blocks, 128)
        codes = np.stack([qs.reshape(blocks, 4, 32) & 15, qs.reshape(blocks, 4, 32) >> 4], axis=2)
        codes = codes.reshape(blocks, 8, 32).astype(np.int32)
        parts = [half_bytes(d), half_bytes(d_min), packed]
        if bits == 5:
            qh = random_bytes(rng, blocks, 32)
            codes |= (qh[:, None, :] >> np.arange(8, dtype=np.uint8)[None, :, None] & 1).astype(np.int32) << 4
            parts.append(qh)
        scales, minima = six_bit_scales(packed)
        values = (d.astype(np.float32)[:, None] * scales)[:, :, None] * codes
        values = values - (d_min.astype(np.float32)[:, None] * minima)[:, :, None]
        return np.concatenate(parts + [qs], axis=1), values.reshape(blocks, 256)
    return unit


def q6_k(rng, blocks, factor):
    """Two halves of 128: 64 bytes of low nibbles, 32 bytes of upper bit pairs, 8 int8 scales of 16 codes each."""
    d = factors(rng, blocks, factor)
    ql, qh = random_bytes(rng, blocks, 128), random_bytes(rng, blocks, 64)
    scales = rng.integers(-128, 128, (blocks, 16), dtype=np.int8)
    low = ql.reshape(blocks, 2, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2)  # [blocks, half, run, 32]
    high = qh.reshape(blocks, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1) & 3
    codes = (low | high << 4).astype(np.int32).reshape(blocks, 16, 16) - 32
    values = (d.astype(np.float32)[:, None] * scales)[:, :, None] * codes
    return np.concatenate([ql, qh, scales.view(np.uint8), half_bytes(d)], axis=1), values.reshape(blocks, 256)


MAKERS = {"Q4_0": small_block(4, False), "Q4_1": small_block(4, True), "Q5_0": small_block(5, False),
          "Q5_1": small_block(5, True), "Q8_0": q8_0, "Q4_K": k_block(4), "Q5_K": k_block(5), "Q6_K": q6_k}
