"""An independent forward pass in numpy: Llama, Qwen2, Qwen3 and Mistral, teacher-forced, float32.

All tokens go through a layer at once. That is exact even for a cache that changes from step to step, because with
teacher forcing only attention sees the steps: every query picks, key by key, the stored or the decoded value
(kv_cache.KvConfig.decoded_mask). Nothing here is shared with the engine: not a formula, not a file reader.
"""
import dataclasses
import math

import numpy as np

from kv_cache import hadamard, round_to_bf16


@dataclasses.dataclass
class Config:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    epsilon: float
    rope_base: float
    rope_scaling: dict = None  # {"type": "linear" | "llama3", ...}; keys as in Hugging Face's config.json
    rope_factors: np.ndarray = None  # [head_dim / 2]: GGUF's rope_freqs, frequencies are divided by it
    interleaved_rope: bool = False  # rotate pairs (2i, 2i + 1), not (i, i + head_dim / 2)
    sliding_window: int = 0

    def inverse_frequency(self):
        """[head_dim / 2] float64, scaling applied."""
        frequency = self.rope_base ** (-np.arange(0, self.head_dim, 2, dtype=np.float64) / self.head_dim)
        if self.rope_factors is not None:
            frequency = frequency / self.rope_factors
        scaling = self.rope_scaling or {"type": "default"}
        kind = scaling.get("rope_type", scaling.get("type"))
        if kind == "linear":
            return frequency / scaling["factor"]
        if kind == "llama3":
            return np.array([llama3_frequency(f, scaling) for f in frequency])
        if kind != "default":
            raise ValueError(f"rope scaling {kind!r}")
        return frequency


def llama3_frequency(frequency, scaling):
    """Llama 3.1: long waves slowed down by `factor`, short ones kept, a linear blend between."""
    original = scaling["original_max_position_embeddings"]
    turns = original * frequency / (2 * math.pi)  # within the original context
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    if turns < low:
        return frequency / scaling["factor"]
    if turns > high:
        return frequency
    keep = (turns - low) / (high - low)
    return (1 - keep) * frequency / scaling["factor"] + keep * frequency


# Multiplications of a product. Debian's numpy comes with a BLAS four times slower than einsum's dot products; on a real
# model's matrices any other BLAS is faster.
EINSUM_BELOW = 2**27


def product(x, w):
    """x [n, in], w [out, in] -> [n, out]."""
    small = len(x) * w.size < EINSUM_BELOW
    return np.einsum("ni,oi->no", x, w, optimize=False) if small else x @ w.T


class Model:
    """weights: canonical (GGUF) names -> float32 arrays, matrices [out, in]."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = weights

    def forward(self, tokens, kv=None, decode_from=-1):
        """tokens [n] -> logits [n, vocab]. kv: a KvConfig to emulate; None: an exact float32 cache."""
        cfg, w = self.config, self.weights
        n = len(tokens)
        angles = np.arange(n)[:, None] * cfg.inverse_frequency()
        cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
        position = np.arange(n)
        visible = position[None, :] <= position[:, None]
        if cfg.sliding_window:
            visible &= position[None, :] > position[:, None] - cfg.sliding_window
        decoded = kv.decoded_mask(n, decode_from) if kv else None

        x = w["token_embd.weight"][np.asarray(tokens)]
        for layer in range(cfg.layers):
            prefix = f"blk.{layer}."
            h = self.norm(x, prefix + "attn_norm")
            q = self.heads(h, prefix + "attn_q", cfg.heads)
            k = self.heads(h, prefix + "attn_k", cfg.kv_heads)
            v = self.heads(h, prefix + "attn_v", cfg.kv_heads)
            q, k = self.rope(q, cos, sin), self.rope(k, cos, sin)
            x = x + self.linear(self.attention(q, k, v, layer, visible, kv, decoded), prefix + "attn_output")
            h = self.norm(x, prefix + "ffn_norm")
            gate = self.linear(h, prefix + "ffn_gate")
            silu = gate / (1 + np.exp(-gate))
            x = x + self.linear(silu * self.linear(h, prefix + "ffn_up"), prefix + "ffn_down")
        x = self.norm(x, "output_norm")
        head = w["output.weight"] if "output.weight" in w else w["token_embd.weight"]
        return product(x, head)

    def norm(self, x, name):
        scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.config.epsilon))
        return x * scale * self.weights[name + ".weight"]

    def linear(self, x, name):
        y = product(x, self.weights[name + ".weight"])
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def heads(self, x, name, count):
        """[n, hidden] -> [n, count, head_dim], normalised per head where the model has QK-norm."""
        y = self.linear(x, name).reshape(len(x), count, self.config.head_dim)
        return self.norm(y, name + "_norm") if name + "_norm.weight" in self.weights else y

    def rope(self, x, cos, sin):
        """Rotates pairs. The result has all first elements of pairs, then all second ones, whatever the order of the
        weights: so do cached keys, which matters to codecs that group neighbouring channels."""
        half = x.shape[-1] // 2
        first, second = (x[..., 0::2], x[..., 1::2]) if self.config.interleaved_rope else (
            x[..., :half], x[..., half:])
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def attention(self, q, k, v, layer, visible, kv, decoded):
        """q [n, heads, d], k, v [n, kv_heads, d] -> [n, heads * d]."""
        n, heads, dim = q.shape
        rotation = hadamard(dim)  # its own inverse
        if kv and kv.k_hadamard:
            q, k = q @ rotation, k @ rotation
        if kv and kv.v_hadamard:
            v = v @ rotation
        if kv:
            k, v = round_to_bf16(k), round_to_bf16(v)
            k_codec, v_codec = kv.codecs(layer)
            k_decoded, v_decoded = kv.decode_full_blocks(k, k_codec), kv.decode_full_blocks(v, v_codec)
        out = np.empty_like(q)
        for head in range(heads):
            group = head // (heads // self.config.kv_heads)
            scores = product(q[:, head], k[:, group])
            if kv:
                scores = np.where(decoded, product(q[:, head], k_decoded[:, group]), scores)
            scores = np.where(visible, scores / np.float32(math.sqrt(dim)), np.float32(-np.inf))
            p = np.exp(scores - scores.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            if kv:
                out[:, head] = product(p * ~decoded, np.ascontiguousarray(v[:, group].T))
                out[:, head] += product(p * decoded, np.ascontiguousarray(v_decoded[:, group].T))
            else:
                out[:, head] = product(p, np.ascontiguousarray(v[:, group].T))
        if kv and kv.v_hadamard:
            out = out @ rotation
        return out.reshape(n, heads * dim)
