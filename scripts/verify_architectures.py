#!/usr/bin/env python3
"""Compares the engine's logits with transformers (float32, eager attention) on tiny random models of every
architecture that transformers itself initialises and saves.

usage: verify_architectures.py --binary build/release/tests/oracle/engine_logits [--isa avx512]

Needs torch and transformers (pip); the test suite's oracle (tests/oracle) needs neither and covers the same
architectures. The engine's bf16 cache is the only difference in precision: the error allowed is half as much again as
what the oracle says that rounding K and V to bf16 changes. Exit code 1 on a failure.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "oracle"))

from compare import engine_logits  # noqa: E402
from kv_cache import KvConfig  # noqa: E402
import model_files  # noqa: E402
import tiny_models  # noqa: E402

TOKENS = 300
BF16 = "k=bf16 v=bf16 sink=16 recent=0 chunk=128"
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 4.0}

# name, transformers class, config
CASES = [
    ("llama d64 tied", "Llama", dict(head_dim=64, tie_word_embeddings=True)),
    ("llama d128 llama3 scaling", "Llama", dict(head_dim=128, rope_parameters=dict(LLAMA3, rope_theta=5e5))),
    ("llama d80 linear scaling", "Llama", dict(head_dim=80, rope_parameters=dict(LINEAR, rope_theta=1e4))),
    ("llama d256", "Llama", dict(head_dim=256, num_key_value_heads=1)),
    ("qwen2 d64", "Qwen2", dict(tie_word_embeddings=True, hidden_size=256)),
    ("qwen2 d96", "Qwen2", dict(hidden_size=384)),
    ("qwen3 d128", "Qwen3", dict(head_dim=128)),
    ("qwen3 d96 tied", "Qwen3", dict(head_dim=96, tie_word_embeddings=True)),
    ("mistral d64 window 100", "Mistral", dict(head_dim=64, sliding_window=100)),
    ("mistral d128", "Mistral", dict(head_dim=128, sliding_window=None)),
]


def save_model(kind, overrides, folder):
    """Saves a random model whose parameters bf16 represents; returns it."""
    import torch
    import transformers

    settings = dict(vocab_size=tiny_models.VOCAB, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=256,
                    bos_token_id=None, tie_word_embeddings=False)
    config = getattr(transformers, kind + "Config")(**dict(settings, **overrides))
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.08 / 0.02)  # initialised with 0.02: too small for attention to matter
            elif name.endswith("bias"):
                parameter.normal_(0, 0.5)
            else:
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
            parameter.copy_(parameter.to(torch.bfloat16).float())
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tiny_models.tokenizer_json()))
    return model


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--isa", default="avx512")
    args = parser.parse_args()
    tokens = np.random.default_rng(1).integers(0, 256, TOKENS).tolist()
    failures = 0
    print(f"{'':27s} {'max/std':>9s} {'allowed':>9s} {'argmax':>7s}")
    for name, kind, overrides in CASES:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model = save_model(kind, overrides, folder)
            with torch.no_grad():
                expected = model(torch.tensor([tokens])).logits[0].float().numpy()
            oracle = model_files.load(folder)
            rounding = np.abs(oracle.forward(tokens, KvConfig.parse(BF16)) - oracle.forward(tokens)).max()
            for decode_from in (-1, 200):
                logits = engine_logits(args.binary, folder, tokens, BF16, decode_from, args.isa)
                error, allowed = np.abs(logits - expected).max(), 1.5 * rounding
                agreement = (logits.argmax(1) == expected.argmax(1)).mean()
                verdict = "ok" if error <= allowed else "FAILED"
                failures += verdict != "ok"
                path = "prefill" if decode_from < 0 else "decode"
                print(f"{name:27s} {error / expected.std():9.2e} {allowed / expected.std():9.2e} {agreement:7.4f}  "
                      f"{path} {verdict}", flush=True)
    print("FAILED" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
