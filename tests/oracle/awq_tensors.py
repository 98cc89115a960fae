"""Random matrices in AutoAWQ's "GEMM" layout: the three tensors of a linear layer and the values they stand for.

A linear layer with weight [out, in] is held as its transpose: qweight int32 [in, out / 8], qzeros int32
[in / group, out / 8], scales f16 [in / group, out]. Word w of a row holds columns 8w + ORDER[i] in bits 4i..4i+3.
weight[o, i] = (code[i, o] - zero[i / group, o]) * scale[i / group, o].
"""
import numpy as np

ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def pack(codes):
    """[n, out] integers 0..15 -> int32 [n, out / 8]."""
    words = codes.reshape(len(codes), -1, 8)[:, :, ORDER].astype(np.uint32)
    return (words << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32).view(np.int32)


def make(rng, rows, cols, group, std):
    """((qweight, qzeros, scales), values [rows, cols] float32) with a standard deviation of about `std`."""
    codes = rng.integers(0, 16, (cols, rows))
    zeros = rng.integers(0, 16, (cols // group, rows))
    scales = (std / 6.5 * rng.uniform(0.7, 1.3, zeros.shape)).astype(np.float16)
    offsets = codes - np.repeat(zeros, group, axis=0)
    values = offsets * np.repeat(scales.astype(np.float32), group, axis=0)
    return (pack(codes), pack(zeros), scales), np.ascontiguousarray(values.T.astype(np.float32))
