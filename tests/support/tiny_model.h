// A complete random model small enough for a test, to be written as a GGUF file or as a Hugging
// Face directory. The same options give the same weights on every machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/tensor.h"
#include "engine/model/model_config.h"
#include "engine/text/tokenizer_spec.h"
#include "tests/support/tiny_tokenizer.h"

namespace kvpareto::support {

struct TinyModelOptions {
  Architecture architecture = Architecture::kLlama;
  int layers = 2;
  int hidden = 128;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 32;
  int ffn = 256;
  int vocab = kTinyVocab;
  int context_tokens = 4096;
  TensorType type = TensorType::kF32;        // matrices, embedding included; norms and biases: F32
  std::optional<TensorType> embedding_type;  // embedding and head, where they differ
  bool tied = true;
  int sliding_window = 0;  // tokens; 0: none
  double rope_base = 10000.0;
  double linear_rope_factor = 0.0;  // 0: none
  std::optional<Llama3RopeScaling> llama3_rope;
  bool sentencepiece = false;  // Llama-2's kind of tokenizer instead of byte-level BPE
  // Of byte-level BPE; as the architecture's models have it (kQwen2, otherwise kSmolLm) when unset.
  std::optional<TokenizerSpec::PreTokenizer> pre_tokenizer;
  uint64_t seed = 1;
};

struct TinyTensor {
  std::string name;  // canonical; Q and K rows in the engine's order (halves)
  TensorType type;
  std::vector<int64_t> shape;  // outermost first
  std::vector<std::byte> data;
};

// Plain data: tests change it before writing to make a wrong file.
struct TinyModel {
  TinyModelOptions options;
  TokenizerSpec tokenizer;
  std::string chat_template;  // ChatML; empty: none
  std::vector<int32_t> eos_tokens;
  std::vector<TinyTensor> tensors;

  TinyTensor& tensor(const std::string& name);
};

// Logits of the model have a standard deviation of about 1.
TinyModel MakeTinyModel(const TinyModelOptions& options = {});

// One .gguf file. Llama and Mistral models get their Q and K rows interleaved, as real files have.
void WriteGguf(const TinyModel& model, const std::string& path);

struct HfWriteOptions {
  TensorType type = TensorType::kF32;  // F32, F16 or BF16: what the weights are converted to
  int max_shard_tensors = 0;           // > 0: shards of so many tensors with an index
  bool merges_as_pairs = false;        // ["a", "b"] instead of "a b"
  int awq_group_cols = 0;  // > 0: matrices of layers in AutoAWQ's layout, everything else in F16
};
// A directory (created) with config.json, generation_config.json, tokenizer.json,
// tokenizer_config.json and safetensors.
void WriteHfDirectory(const TinyModel& model, const std::string& directory,
                      const HfWriteOptions& options = {});

// The values that a directory with awq_group_cols holds, as a dense F32 model.
TinyModel AwqRounded(const TinyModel& model, int group_cols);

}  // namespace kvpareto::support
