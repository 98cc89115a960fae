"""Tokenizers of the families whose published vocabularies are not at hand: trained here, with the families' own
pre-tokenizers, and written as a Hugging Face directory or a GGUF file that the engine opens."""
import io
import json
import pathlib
import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HIDDEN = 64
VOCAB = 6000


def pre_tokenizer(name):
    """The byte-level pre-tokenizer of a family, by llama.cpp's name."""
    if name in ("gpt-2", "smollm"):
        whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = pre_tokenizers.Digits(individual_digits=True)
        return whole if name == "gpt-2" else pre_tokenizers.Sequence([digits, whole])
    split = pre_tokenizers.Split(Regex(LLAMA3 if name == "llama-bpe" else QWEN2), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(tokens, merges, name, added):
    """`added`: (text, special) pairs that are already in `tokens`."""
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges,
                                     ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    for text, special in added:
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=False)])
    return tokenizer


def from_gguf(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    added = [(token, kind == 3) for token, kind in zip(tokens, kinds) if kind in (3, 4)]
    tokens = [token if kind != 5 else f"\0unused {i}" for i, (token, kind) in enumerate(zip(tokens, kinds))]
    return byte_level(tokens, merges, fields["tokenizer.ggml.pre"].contents(), added)


def train_byte_level(name, corpus):
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=VOCAB, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if name == "llama-bpe":  # words that no merge reaches: only ignore_merges finds them
        data = json.loads(tokenizer.to_str())
        for text in ("\u0120unreachable", "zzqqxxjj", "\u0120\u0120\u0120!"):
            data["model"]["vocab"][text] = len(data["model"]["vocab"])
        tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>", "<|end|>", "<|end|>of|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("    ", normalized=False)])
    return tokenizer


def sentencepiece_model(corpus):
    """Pieces with scores and kinds, trained by the SentencePiece library; and its processor."""
    import sentencepiece
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in corpus if line.strip() and "\0" not in line]), model_writer=out,
        model_type="bpe", vocab_size=VOCAB, byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2, character_coverage=0.98,
        max_sentence_length=20000)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def llama2_tokenizer(processor, metaspace):
    """The tokenizer.json that transformers makes of a SentencePiece model: in its older form (normalizers Prepend and
    Replace), or its newer one (pre-tokenizer Metaspace)."""
    size = processor.vocab_size()
    vocab = {processor.id_to_piece(i): i for i in range(size)}
    merges = []
    for i in range(size):
        if processor.is_byte(i) or processor.is_control(i) or processor.is_unknown(i):
            continue
        piece = processor.id_to_piece(i)
        pairs = [(piece[:at], piece[at:]) for at in range(1, len(piece)) if piece[:at] in vocab and piece[at:] in vocab]
        pairs.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(processor.get_score(i), pair) for pair in pairs]
    merges.sort(key=lambda merge: -merge[0])
    tokenizer = Tokenizer(models.BPE(vocab, [pair for _, pair in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    if metaspace:
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("[INST]", "[/INST]")])
    return tokenizer


def tensor_shapes(vocab):
    layer = "model.layers.0."
    square = [HIDDEN, HIDDEN]
    return {"model.embed_tokens.weight": [vocab, HIDDEN], "model.norm.weight": [HIDDEN],
            layer + "input_layernorm.weight": [HIDDEN], layer + "post_attention_layernorm.weight": [HIDDEN],
            **{f"{layer}self_attn.{name}_proj.weight": square for name in "qkvo"},
            **{f"{layer}mlp.{name}_proj.weight": square for name in ("gate", "up", "down")}}


def write_directory(directory, tokenizer):
    """A complete tiny model (all weights zero) around a tokenizer."""
    directory = pathlib.Path(directory)
    vocab = tokenizer.get_vocab_size(with_added_tokens=True)
    (directory / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": HIDDEN,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": HIDDEN, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 2048, "vocab_size": vocab,
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}))
    tokenizer.save(str(directory / "tokenizer.json"))
    header, end = {}, 0
    for name, shape in tensor_shapes(vocab).items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    return directory


def write_gguf(path, processor):
    """A complete tiny GGUF model around a SentencePiece model: merges by score."""
    import gguf
    import numpy as np
    size = processor.vocab_size()
    kinds = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i) else 1
             for i in range(size)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([processor.id_to_piece(i) for i in range(size)])
    writer.add_token_scores([processor.get_score(i) for i in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers.0.input_layernorm": "blk.0.attn_norm",
             "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm", "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
             **{f"model.layers.0.self_attn.{n}_proj": f"blk.0.attn_{n}" for n in "qkv"},
             **{f"model.layers.0.mlp.{n}_proj": f"blk.0.ffn_{n}" for n in ("gate", "up", "down")}}
    for name, shape in tensor_shapes(size).items():
        writer.add_tensor(names[name.removesuffix(".weight")] + ".weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return pathlib.Path(path)
