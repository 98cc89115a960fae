"""Tiny random models of every architecture, written to disk as the engine reads them, with the oracle's view of each.

Weights are random but shaped like real ones where it matters here: keys and queries are large enough for peaked
attention, norms differ from one, biases of keys are large. Every matrix holds values that bf16 represents, as the
engine keeps float matrices in bf16.
"""
import dataclasses
import json
import struct

import numpy as np

import awq_tensors
import gguf_blocks
from reference import Config, Model

VOCAB = 261  # 256 bytes, an end token and unused ids: not a multiple of any vector length


@dataclasses.dataclass
class Shape:
    name: str
    architecture: str  # llama, qwen2, qwen3, mistral
    container: str  # huggingface, gguf
    hidden: int = 128
    ffn: int = 192
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    tied: bool = True
    rope_base: float = 10000.0
    rope_scaling: dict = None
    rope_parameters: bool = False  # config.json as transformers 5 writes it
    sliding_window: int = 0
    awq_group: int = 0  # > 0: matrices of layers quantized by AutoAWQ
    seed: int = 1


LLAMA3_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 96}
LINEAR_SCALING = {"rope_type": "linear", "factor": 4.0}

SHAPES = [
    Shape("llama_d64_tied", "llama", "huggingface", kv_heads=4, seed=1),
    Shape("llama3_scaling_d128_untied", "llama", "huggingface", head_dim=128, kv_heads=1, tied=False,
          rope_base=500000.0, rope_scaling=LLAMA3_SCALING, seed=2),
    Shape("linear_scaling_d80", "llama", "huggingface", head_dim=80, rope_scaling=LINEAR_SCALING, rope_parameters=True,
          seed=3),
    Shape("qwen2_d64", "qwen2", "huggingface", hidden=192, heads=6, kv_heads=2, rope_base=1e6, seed=4),
    Shape("qwen3_d96_untied", "qwen3", "huggingface", head_dim=96, hidden=192, heads=6, tied=False, rope_base=1e6, seed=5),
    Shape("mistral_d96_window", "mistral", "huggingface", head_dim=96, sliding_window=200, tied=False, seed=6),
    Shape("mistral_d256", "mistral", "huggingface", head_dim=256, heads=2, kv_heads=1, tied=False, seed=7),
    Shape("gguf_llama_interleaved", "llama", "gguf", hidden=256, ffn=512, layers=3, heads=4, seed=8),
    Shape("gguf_qwen2_untied", "qwen2", "gguf", hidden=256, ffn=512, layers=3, heads=4, kv_heads=1, tied=False, seed=9),
    Shape("gguf_qwen3_linear", "qwen3", "gguf", hidden=256, ffn=512, head_dim=128, heads=2, kv_heads=2,
          rope_scaling=LINEAR_SCALING, seed=10),
    Shape("awq_llama_g32", "llama", "huggingface", hidden=96, ffn=160, heads=2, kv_heads=2, awq_group=32, seed=11),
    Shape("awq_qwen2_g64", "qwen2", "huggingface", hidden=192, heads=6, kv_heads=2, awq_group=64, seed=12),
    Shape("awq_mistral_g128_untied", "mistral", "huggingface", hidden=256, ffn=384, tied=False, awq_group=128, seed=13),
]


def write(shape, folder):
    """Writes the model below `folder`; returns (path for the engine, the oracle's Model)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shape.seed)
    config = Config(layers=shape.layers, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
                    epsilon=1e-5, rope_base=shape.rope_base, rope_scaling=shape.rope_scaling,
                    interleaved_rope=shape.container == "gguf" and shape.architecture == "llama",
                    sliding_window=shape.sliding_window)
    tensors = random_tensors(shape, rng)
    path = write_gguf(shape, tensors, folder) if shape.container == "gguf" else write_huggingface(
        shape, tensors, folder)
    return path, Model(config, {name: values for name, (_, _, values) in tensors.items()})


def random_tensors(shape, rng):
    """canonical name -> (format, bytes, float32 values); "AWQ": three arrays for the bytes."""
    formats = gguf_blocks.BLOCK_TYPES + ("F16", "BF16", "F32") if shape.container == "gguf" else ("BF16", "F16", "F32")
    tensors = {}

    def matrix(name, rows, cols, gain):
        if shape.awq_group and name.startswith("blk."):
            data, values = awq_tensors.make(rng, rows, cols, shape.awq_group, gain / np.sqrt(cols))
            tensors[name + ".weight"] = ("AWQ", data, values)
            return
        kind = formats[len(tensors) % len(formats)]
        data, values = gguf_blocks.make(kind, rng, rows, cols, gain / np.sqrt(cols))
        tensors[name + ".weight"] = (kind, data, values)

    def vector(name, size, mean, deviation):
        values = (mean + deviation * rng.standard_normal(size)).astype(np.float32)
        tensors[name] = ("F32", values.view(np.uint8), values)

    q_rows, kv_rows = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrix("token_embd", VOCAB, shape.hidden, np.sqrt(shape.hidden))
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        vector(prefix + "attn_norm.weight", shape.hidden, 1, 0.2)
        matrix(prefix + "attn_q", q_rows, shape.hidden, 1.5)
        matrix(prefix + "attn_k", kv_rows, shape.hidden, 1.5)
        matrix(prefix + "attn_v", kv_rows, shape.hidden, 1)
        matrix(prefix + "attn_output", shape.hidden, q_rows, 1)
        vector(prefix + "ffn_norm.weight", shape.hidden, 1, 0.2)
        matrix(prefix + "ffn_gate", shape.ffn, shape.hidden, 1)
        matrix(prefix + "ffn_up", shape.ffn, shape.hidden, 1)
        matrix(prefix + "ffn_down", shape.hidden, shape.ffn, 1)
        if shape.architecture == "qwen2":
            vector(prefix + "attn_q.bias", q_rows, 0, 0.3)
            vector(prefix + "attn_k.bias", kv_rows, 0, 2)
            vector(prefix + "attn_v.bias", kv_rows, 0, 0.3)
        if shape.architecture == "qwen3":
            vector(prefix + "attn_q_norm.weight", shape.head_dim, 1.5, 0.2)
            vector(prefix + "attn_k_norm.weight", shape.head_dim, 1.5, 0.2)
    vector("output_norm.weight", shape.hidden, 1, 0.2)
    if not shape.tied:
        matrix("output", VOCAB, shape.hidden, 3)
    return tensors


def byte_alphabet():
    """GPT-2's printable stand-in for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (chr(256 + i) for i in range(256 - len(printable)))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


# --- Hugging Face directories ---

def huggingface_name(name):
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
             "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    *block, stem, kind = name.split(".")
    return (f"model.layers.{block[1]}." if block else "") + names[stem] + "." + kind


def write_huggingface(shape, tensors, folder):
    classes = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
               "mistral": "MistralForCausalLM"}
    config = {
        "architectures": [classes[shape.architecture]], "model_type": shape.architecture, "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "rms_norm_eps": 1e-5, "rope_theta": shape.rope_base, "rope_scaling": shape.rope_scaling,
        "max_position_embeddings": 4096, "vocab_size": VOCAB, "tie_word_embeddings": shape.tied,
        "sliding_window": shape.sliding_window or None, "bos_token_id": None, "eos_token_id": 256,
        "attention_bias": False, "mlp_bias": False, "torch_dtype": "bfloat16"}
    if shape.rope_parameters:
        scaling = config.pop("rope_scaling") or {"rope_type": "default"}
        config["rope_parameters"] = dict(scaling, rope_theta=config.pop("rope_theta"))
    if shape.architecture in ("qwen2", "qwen3"):
        config["use_sliding_window"] = False
    if shape.awq_group:
        config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": shape.awq_group,
                                         "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 256}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    write_safetensors(folder / "model.safetensors", huggingface_tensors(tensors))
    return folder


def huggingface_tensors(tensors):
    """name -> (dtype, bytes, shape)."""
    out = {}
    for name, (kind, data, values) in tensors.items():
        if kind != "AWQ":
            out[huggingface_name(name)] = (kind, data, values.shape)
            continue
        module = huggingface_name(name).removesuffix("weight")
        for part, dtype, array in zip(("qweight", "qzeros", "scales"), ("I32", "I32", "F16"), data):
            out[module + part] = (dtype, array, array.shape)
    return out


def tokenizer_json():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": 256, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {c: byte for byte, c in enumerate(byte_alphabet())}, "merges": []}}


def write_safetensors(file, tensors):
    """tensors: name -> (format, bytes, shape)."""
    header, offset = {}, 0
    for name, (kind, data, shape) in tensors.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + data.nbytes]}
        offset += data.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, data, _ in tensors.values():
            out.write(data.tobytes())


# --- GGUF files ---

def write_gguf(shape, tensors, folder):
    arch = "llama" if shape.architecture == "mistral" else shape.architecture
    metadata = {
        "general.architecture": arch, "general.name": shape.name, f"{arch}.block_count": shape.layers,
        f"{arch}.embedding_length": shape.hidden, f"{arch}.feed_forward_length": shape.ffn,
        f"{arch}.attention.head_count": shape.heads, f"{arch}.attention.head_count_kv": shape.kv_heads,
        f"{arch}.attention.key_length": shape.head_dim, f"{arch}.attention.value_length": shape.head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.rope.freq_base": shape.rope_base,
        f"{arch}.rope.dimension_count": shape.head_dim, f"{arch}.context_length": 4096, f"{arch}.vocab_size": VOCAB,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": byte_alphabet() + ["<|end|>"] + [f"[PAD{i}]" for i in range(257, VOCAB)],
        "tokenizer.ggml.token_type": [1] * 256 + [3] + [5] * (VOCAB - 257), "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": 256, "tokenizer.ggml.add_bos_token": False}
    if shape.rope_scaling:
        metadata[f"{arch}.rope.scaling.type"] = shape.rope_scaling["rope_type"]
        metadata[f"{arch}.rope.scaling.factor"] = shape.rope_scaling["factor"]
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out += gguf_string(key) + gguf_value(value)
    offset = 0
    for name, (kind, data, values) in tensors.items():
        dims = values.shape[::-1]
        out += gguf_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, gguf_blocks.TYPE_IDS[kind], offset)
        offset += data.nbytes + -data.nbytes % 32
    out += bytes(-len(out) % 32)
    for _, data, _ in tensors.values():
        out += data.tobytes() + bytes(-data.nbytes % 32)
    path = folder / "model.gguf"
    path.write_bytes(out)
    return path


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    if value and isinstance(value[0], int):
        return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_string, value))
