#!/usr/bin/env python3
"""Checks `kvpareto-tune awq` against an independent implementation of AutoAWQ's algorithm, in numpy.

usage: verify_awq.py SOURCE CHECKPOINT --binary build/release/tests/oracle/engine_logits
           --calibration FILE[,FILE...] --text FILE [--samples 16] [--group 128] [--windows 8] [--window-tokens 512]

SOURCE is the model that was quantized (GGUF file or Hugging Face directory), CHECKPOINT what `kvpareto-tune awq` made of
it. Four models are compared by their perplexity on --text, all with the oracle's forward pass (tests/oracle):
SOURCE, plain rounding, the numpy implementation, and CHECKPOINT. Then the engine's logits of CHECKPOINT are compared
with the oracle's of the same file. Every core tries a grid step of its own, with its own activations of all samples.
Needs numpy and `tokenizers`, and for GGUF files `gguf` (pip). Exit code 1 when the checkpoint is more than --tolerance
nats worse than the numpy implementation, or no better than plain rounding, or when the engine's logits differ.

The algorithm, after AutoAWQ 0.2 (awq/quantize/quantizer.py): see quantize(). It rounds to the nearest, as
`kvpareto-tune awq --rounding=nearest` does; with the default's error compensation a checkpoint should be clearly better.
Samples are consecutive runs of each file, so they are not those that kvpareto-tune draws: what is compared is the
quality of the search.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # cores share out grid steps, groups and windows instead
import numpy as np  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from compare import engine_logits  # noqa: E402
import model_files  # noqa: E402
import reference  # noqa: E402
from reference import Model  # noqa: E402

reference.EINSUM_BELOW = 0  # pip's numpy has a BLAS that is fast at every size
SAMPLE_TOKENS = 512
INPUTS = {"attn_q": ["attn_q", "attn_k", "attn_v"], "attn_output": ["attn_output"],
          "ffn_gate": ["ffn_gate", "ffn_up"], "ffn_down": ["ffn_down"]}
BEFORE = {"attn_q": "attn_norm", "attn_output": "attn_v", "ffn_gate": "ffn_norm", "ffn_down": "ffn_up"}


def on_all_cores(function, items):
    """[function(item) for item in items], numpy's part of it at once."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))


def fake_quantize(w, group):
    """[out, in] -> what 4 bits with zeros leave of it (pseudo_quantize_tensor)."""
    g = w.reshape(-1, group)
    low, high = g.min(1, keepdims=True), g.max(1, keepdims=True)
    scale = np.maximum(high - low, 1e-5) / 15
    zero = np.clip(-np.round(low / scale), 0, 15)
    codes = g / scale
    np.round(codes, out=codes)
    codes += zero
    np.clip(codes, 0, 15, out=codes)
    codes -= zero
    codes *= scale
    return codes.reshape(w.shape)


class Recorder(Model):
    """Keeps what linear layers are applied to, [tokens, in] by name, of the first layers in each input set. For one
    sample."""

    def __init__(self, config, weights):
        super().__init__(config, weights)
        self.inputs = {}

    def linear(self, x, name):
        if name.split(".")[-1] in INPUTS:
            self.inputs[name] = x
        return super().linear(x, name)


def record(model, sample):
    recorder = Recorder(model.config, model.weights)
    recorder.forward(sample)
    return recorder.inputs


class Block(Model):
    """Parts of one layer."""

    def __init__(self, config, weights, layer):
        prefix = f"blk.{layer}."
        super().__init__(config, {n: w for n, w in weights.items() if n.startswith(prefix)})
        self.layer, self.prefix = layer, prefix

    def replaced(self, weights):
        return Block(self.config, self.weights | weights, self.layer)

    def attention_block(self, samples):
        cfg, p = self.config, self.prefix
        out = []
        for x in samples:
            angles = np.arange(len(x))[:, None] * cfg.inverse_frequency()
            cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
            q = self.rope(self.heads(x, p + "attn_q", cfg.heads), cos, sin)
            k = self.rope(self.heads(x, p + "attn_k", cfg.kv_heads), cos, sin)
            v = self.heads(x, p + "attn_v", cfg.kv_heads)
            visible = np.tril(np.ones((len(x), len(x)), bool))
            out.append(self.linear(self.attention(q, k, v, self.layer, visible, None, None), p + "attn_output"))
        return np.concatenate(out)

    def mlp(self, samples):
        x, p = np.concatenate(samples), self.prefix
        gate = self.linear(x, p + "ffn_gate")
        return self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, p + "ffn_up"), p + "ffn_down")

    def output(self, first, samples):
        if first == "attn_q":
            return self.attention_block(samples)
        if first == "ffn_gate":
            return self.mlp(samples)
        return self.linear(np.concatenate(samples), self.prefix + first)


def search_scales(block, first, samples, group, grid=20):
    """The scales [in] of one set of linear layers with the smallest error of the module's output."""
    names = [block.prefix + name + ".weight" for name in INPUTS[first]]
    original = {name: block.weights[name] for name in names}
    stacked = np.concatenate(list(original.values()))
    relative = np.abs(stacked).reshape(-1, group)
    relative = (relative / (relative.max(1, keepdims=True) + 1e-6)).reshape(stacked.shape)
    w_mean = relative.mean(0)
    x_mean = np.abs(np.concatenate(samples)).mean(0)
    exact = block.output(first, samples)

    def attempt(step):
        """(error, scales)"""
        ratio = step / grid
        scales = np.maximum(x_mean ** ratio / (w_mean ** (1 - ratio) + 1e-4), 1e-4)
        scales = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
        scales[~np.isfinite(scales)] = 1
        rounded = block.replaced({n: fake_quantize(w * scales, group) / scales for n, w in original.items()})
        return float(((rounded.output(first, samples) - exact).astype(np.float64) ** 2).mean()), scales

    return min(on_all_cores(attempt, range(grid)), key=lambda found: np.nan_to_num(found[0], nan=np.inf))[1]


def clip(w, x, group, grid=20, max_shrink=0.5, tokens=512):
    """Weights [out, in] cut where that makes each group's part of the output more exact."""
    x = x[::max(1, len(x) // tokens)]

    def clipped(first):
        columns = slice(first, first + group)
        g, gram = w[:, columns], x[:, columns].T @ x[:, columns]
        largest = np.abs(g).max(1, keepdims=True)
        best, least = largest.copy(), np.full(largest.shape, np.inf)
        for step in range(int(max_shrink * grid)):
            limit = largest * (1 - step / grid)
            change = fake_quantize(np.clip(g, -limit, limit), group) - g
            error = ((change @ gram) * change).sum(1, keepdims=True)
            better = error < least
            least[better], best[better] = error[better], limit[better]
        return np.clip(g, -best, best)

    return np.concatenate(on_all_cores(clipped, range(0, w.shape[1], group)), axis=1)


def quantize(model, samples, group):
    """The model with weights as AutoAWQ would leave them. Per layer: scales of all sets are searched on the original
    weights, then all are applied, then weights other than those of queries and keys are clipped, then all rounded."""
    recorded = on_all_cores(lambda sample: record(model, sample), samples)
    weights = dict(model.weights)
    for layer in range(model.config.layers):
        start = time.time()
        block = Block(model.config, weights, layer)
        p = block.prefix
        inputs = {first: [inputs.pop(p + first) for inputs in recorded] for first in INPUTS}
        shared = weights[p + "attn_v.weight"].shape != weights[p + "attn_output.weight"].shape
        found = {first: search_scales(block, first, inputs[first], group) for first in INPUTS
                 if not (first == "attn_output" and shared)}
        for first, scales in found.items():
            for name in INPUTS[first]:
                weights[p + name + ".weight"] = weights[p + name + ".weight"] * scales
            before = p + BEFORE[first]
            if first in ("attn_q", "ffn_gate"):
                weights[before + ".weight"] = weights[before + ".weight"] / scales
            else:
                weights[before + ".weight"] = weights[before + ".weight"] / scales[:, None]
                if before + ".bias" in weights:
                    weights[before + ".bias"] = weights[before + ".bias"] / scales
            inputs[first] = [x / scales for x in inputs[first]]
        for first, names in INPUTS.items():
            x = np.concatenate(inputs[first])
            for name in names:
                w = weights[p + name + ".weight"]
                if name not in ("attn_q", "attn_k"):
                    w = clip(w, x, group)
                weights[p + name + ".weight"] = fake_quantize(w, group)
        print(f"numpy: layer {layer} in {time.time() - start:.1f} s", file=sys.stderr, flush=True)
    return Model(model.config, weights)


def plain_rounding(model, group):
    names = {f"{name}.weight" for first in INPUTS.values() for name in first}
    return Model(model.config, {
        name: fake_quantize(w, group) if name.startswith("blk.") and name.split(".", 2)[2] in names else w
        for name, w in model.weights.items()})


def mean_nll(model, windows):
    def total(window):
        logits = model.forward(window)[:-1].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        return (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(window) - 1), window[1:]]).sum()

    return sum(on_all_cores(total, windows)) / sum(len(window) - 1 for window in windows)


def runs(tokenizer, path, length, count, skip=0):
    text = pathlib.Path(path).read_text()[skip:]
    ids = np.array(tokenizer.encode(text[:(count + 1) * length * 12], add_special_tokens=False).ids)
    found = [ids[i:i + length] for i in range(0, len(ids) - length + 1, length)][:count]
    if len(found) < count:
        raise SystemExit(f"{path} has only {len(found)} runs of {length} tokens")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--skip", type=int, default=100000, help="characters of --text before the first window")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--group", type=int, default=128)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--window-tokens", type=int, default=512)
    parser.add_argument("--tolerance", type=float, default=0.02)
    args = parser.parse_args()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(args.checkpoint / "tokenizer.json"))
    files = args.calibration.split(",")
    samples = [run for file in files for run in runs(tokenizer, file, SAMPLE_TOKENS, -(-args.samples // len(files)))]
    windows = runs(tokenizer, args.text, args.window_tokens, args.windows, args.skip)
    source, ours = model_files.load(args.source), model_files.load(args.checkpoint)
    nll = {"source": mean_nll(source, windows), "checkpoint": mean_nll(ours, windows),
           "plain rounding": mean_nll(plain_rounding(source, args.group), windows)}
    print(json.dumps(nll), file=sys.stderr)
    nll["numpy AWQ"] = mean_nll(quantize(source, samples[:args.samples], args.group), windows)
    for name, value in nll.items():
        print(f"{name:15s} nll {value:.5f}  perplexity {np.exp(value):.4f}  {value - nll['source']:+.5f}")

    window = windows[0]
    expected = ours.forward(window)
    logits = engine_logits(args.binary, args.checkpoint, window, "k=bf16 v=bf16 sink=16 recent=0 chunk=64")
    error = np.sqrt(((logits - expected) ** 2).mean()) / expected.std()
    agree = (logits.argmax(-1) == expected.argmax(-1)).mean()
    print(f"engine and oracle on the checkpoint: rms difference {error:.2e} standard deviations, argmax equal {agree:.4f}")
    failed = (nll["checkpoint"] > nll["numpy AWQ"] + args.tolerance or nll["checkpoint"] >= nll["plain rounding"]
              or error > 5e-2)
    print("FAILED" if failed else "ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
