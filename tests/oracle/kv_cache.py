"""What a query reads from the engine's KV cache, written again from its definition in plain numpy.

A sequence's tokens are [sink | blocks of 64]. A step (a prefill chunk, or one decoded token) reads the tokens
that it adds itself, the sink, and every block that is not sealed yet as they were stored: bf16. It reads sealed
blocks decoded. A block is sealed at the end of the step in which it is full and none of its tokens is among the
newest `recent` tokens. K (after RoPE) and V go through their rotation, then are rounded to bf16 before anything else
happens to them.
"""
import dataclasses
import re

import numpy as np

BLOCK_TOKENS = 64


def round_to_bf16(x):
    """float32 -> the nearest bfloat16 (ties to even), as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def float16_not_below(x):
    """The smallest float16 that is >= x (x >= 0), as float32."""
    half = x.astype(np.float16)
    up = np.nextafter(half, np.float16(np.inf))
    return np.where(half.astype(np.float32) < x, up, half).astype(np.float32)


def hadamard(size):
    """Orthonormal and symmetric [size, size]: Sylvester's matrices of the powers of two that `size` is the sum of, the
    largest first, along the diagonal."""
    out, begin = np.zeros((size, size), np.float32), 0
    for bit in reversed(range(size.bit_length())):
        block = 1 << bit
        if size & block:
            index = np.arange(block)
            overlap = index[:, None] & index[None, :]
            ones = sum((overlap >> b) & 1 for b in range(bit + 1))  # entry (i, j) is -1 to the common ones of i and j
            out[begin:begin + block, begin:begin + block] = np.where(ones % 2, -1, 1) / np.sqrt(block)
            begin += block
    return out


@dataclasses.dataclass(frozen=True)
class Codec:
    """One word of a KV config, e.g. "bf16", "int4-token-g32", "int8-channel"."""
    name: str
    bits: int
    granularity: str  # none, token, channel, block
    group: int  # channels sharing a scale; 0: the whole head

    @staticmethod
    def parse(name):
        if name == "bf16":
            return Codec(name, 16, "none", 0)
        match = re.fullmatch(r"int(\d)-(token|channel|block)(?:-g(\d+))?", name)
        if not match:
            raise ValueError(f"codec {name!r} is not known to the oracle")
        return Codec(name, int(match[1]), match[2], int(match[3] or 0))

    def round_trip(self, x):
        """x [blocks, 64, heads, dim] float32, bf16 values -> what the sealed blocks decode to, float32."""
        if self.granularity == "none":
            return x
        blocks, tokens, heads, dim = x.shape
        if self.granularity == "token":
            group = self.group or dim
            grouped = x.reshape(blocks, tokens, heads, dim // group, group)
            return quantize(grouped, self.bits, axes=(4,)).reshape(x.shape)
        return quantize(x, self.bits, axes=(1,) if self.granularity == "channel" else (1, 3))


def quantize(x, bits, axes):
    """Asymmetric round-to-nearest over `axes`: (q - zero) * scale. The scale is a float16 rounded up, so that the range
    is always covered, and large enough for the zero point to fit int16."""
    low = x.min(axis=axes, keepdims=True)
    high = x.max(axis=axes, keepdims=True)
    largest = np.maximum(np.abs(low), np.abs(high))
    scale = np.maximum((high - low) / np.float32(2**bits - 1), largest / np.float32(32767))
    scale = float16_not_below(np.maximum(scale, np.float32(2.0**-24)))
    zero = np.clip(np.rint(-low / scale), -32767, 32767)
    codes = np.clip(np.rint(x / scale + zero), 0, 2**bits - 1)
    return ((codes - zero) * scale).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class KvConfig:
    """The text form of a KV config, parsed."""
    k: Codec
    v: Codec
    sink: int
    recent: int
    chunk: int
    overrides: dict  # layer -> (k codec, v codec)
    k_hadamard: bool = False
    v_hadamard: bool = False

    @staticmethod
    def parse(text):
        words = dict(word.split("=", 1) for word in text.split())
        unknown = set(words) - {"k", "v", "sink", "recent", "chunk", "layers", "krot", "vrot"}
        rotations = [words.get(word, "none") for word in ("krot", "vrot")]
        if unknown or set(rotations) - {"none", "hadamard"}:
            raise ValueError(f"KV config {text!r} is not known to the oracle")
        overrides = {}
        for item in filter(None, words.get("layers", "").split(",")):
            layer, pair = item.split(":")
            k, v = pair.split("/")
            overrides[int(layer)] = (Codec.parse(k), Codec.parse(v))
        return KvConfig(Codec.parse(words["k"]), Codec.parse(words["v"]), int(words.get("sink", 16)),
                        int(words.get("recent", 0)), int(words.get("chunk", 256)), overrides,
                        *(rotation == "hadamard" for rotation in rotations))

    def codecs(self, layer):
        return self.overrides.get(layer, (self.k, self.v))

    def steps(self, tokens, decode_from=-1):
        """[(begin, end)] of the steps that teacher forcing takes."""
        prefill_end = tokens if decode_from < 0 else min(decode_from, tokens)
        steps = [(a, min(a + self.chunk, prefill_end)) for a in range(0, prefill_end, self.chunk)]
        return steps + [(t, t + 1) for t in range(prefill_end, tokens)]

    def sealed_end(self, stored):
        """Tokens in front of this position are read decoded (the sink excepted) once `stored` tokens are there."""
        full = max(0, stored - self.recent - self.sink) // BLOCK_TOKENS
        return self.sink + full * BLOCK_TOKENS

    def decoded_mask(self, tokens, decode_from=-1):
        """[tokens, tokens] bool: query (row) reads key (column) through the codec."""
        mask = np.zeros((tokens, tokens), bool)
        for begin, end in self.steps(tokens, decode_from):
            mask[begin:end, self.sink:self.sealed_end(begin)] = True
        return mask

    def decode_full_blocks(self, x, codec):
        """x [tokens, heads, dim] -> the same with every full block replaced by its round trip."""
        blocks = max(0, x.shape[0] - self.sink) // BLOCK_TOKENS
        out = x.copy()
        if blocks:
            full = slice(self.sink, self.sink + blocks * BLOCK_TOKENS)
            tiles = x[full].reshape(blocks, BLOCK_TOKENS, *x.shape[1:])
            out[full] = codec.round_trip(tiles).reshape(-1, *x.shape[1:])
        return out
