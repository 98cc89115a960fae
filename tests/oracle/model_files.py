"""Real models for the oracle: GGUF through the `gguf` package, Hugging Face directories by plain parsing."""
import json
import pathlib

import numpy as np

from reference import Config, Model

HF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def load(path):
    path = pathlib.Path(path)
    return load_huggingface(path) if path.is_dir() else load_gguf(path)


def canonical_name(name):
    """model.layers.3.self_attn.q_proj.weight -> blk.3.attn_q.weight"""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        layer, stem = stem.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{HF_NAMES[stem]}.{kind}"
    return f"{HF_NAMES[stem]}.{kind}"


def huggingface_config(c):
    # transformers 5 moved rope_theta and rope_scaling into rope_parameters.
    rope = c.get("rope_parameters") or dict(c.get("rope_scaling") or {}, rope_theta=c.get("rope_theta", 10000.0))
    window = c.get("sliding_window") if c["model_type"] == "mistral" or c.get("use_sliding_window") else None
    return Config(
        layers=c["num_hidden_layers"], heads=c["num_attention_heads"], kv_heads=c["num_key_value_heads"],
        head_dim=c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"], epsilon=c["rms_norm_eps"],
        rope_base=rope["rope_theta"], rope_scaling=rope if "rope_type" in rope or "type" in rope else None,
        sliding_window=window or 0)


def load_huggingface(path):
    config = json.loads((path / "config.json").read_text())
    weights = {}
    for file in sorted(path.glob("*.safetensors")):
        for name, tensor in read_safetensors(file).items():
            weights[canonical_name(name)] = tensor
    for name in [name for name in weights if name.endswith(".qweight")]:
        module = name.removesuffix("qweight")
        parts = [weights.pop(module + part) for part in ("qweight", "qzeros", "scales")]
        weights[module + "weight"] = unpack_awq(*parts)
    return Model(huggingface_config(config), weights)


def unpack_awq(qweight, qzeros, scales):
    """AutoAWQ's "GEMM" layout: int32 [in, out / 8], int32 [in / group, out / 8], [in / group, out] -> [out, in].
    A word's nibbles are columns 0, 2, 4, 6, 1, 3, 5, 7 of its eight."""
    def columns(words):
        nibbles = (words.view(np.uint32)[:, :, None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
        return nibbles[:, :, [0, 4, 1, 5, 2, 6, 3, 7]].reshape(len(words), -1).astype(np.float32)

    group = len(qweight) // len(qzeros)
    codes, zeros = columns(qweight), np.repeat(columns(qzeros), group, axis=0)
    return np.ascontiguousarray(((codes - zeros) * np.repeat(scales, group, axis=0)).T)


def read_safetensors(file):
    """name -> float32 array, integers as they are."""
    data = np.memmap(file, np.uint8, "r")
    header_bytes = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8:8 + header_bytes]))
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        raw = np.asarray(data[begin:end])
        if entry["dtype"] == "BF16":
            values = (raw.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif entry["dtype"] == "I32":
            values = raw.view("<i4")  # codes of unpack_awq
        else:
            values = raw.view({"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype(np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def load_gguf(path):
    from gguf import GGUFReader, dequantize  # a development dependency: pip install gguf

    reader = GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()

    def field(key, default=None):
        entry = reader.fields.get(f"{arch}.{key}")
        return default if entry is None else entry.contents()

    weights = {}
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape[::-1]]
        weights[tensor.name] = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
    heads = field("attention.head_count")
    scaling = {"type": "linear", "factor": field("rope.scaling.factor")}
    config = Config(
        layers=field("block_count"), heads=heads, kv_heads=field("attention.head_count_kv", heads),
        head_dim=field("attention.key_length", field("embedding_length") // heads),
        epsilon=field("attention.layer_norm_rms_epsilon"), rope_base=field("rope.freq_base", 10000.0),
        rope_scaling=scaling if field("rope.scaling.type") == "linear" else None,
        rope_factors=weights.pop("rope_freqs.weight", None), interleaved_rope=arch == "llama",
        sliding_window=field("attention.sliding_window", 0))
    return Model(config, weights)
