#include "tests/support/tiny_model.h"

#include <cmath>

#include "engine/base/check.h"
#include "tests/support/random_blocks.h"

namespace kvpareto::support {
namespace {

class Builder {
 public:
  explicit Builder(const TinyModelOptions& options) : random_(options.seed) {}

  // Scaled so that a unit-variance input gives a unit-variance output.
  void Matrix(const std::string& name, TensorType type, int64_t rows, int64_t cols) {
    const float sigma = 1.0f / std::sqrt(static_cast<float>(cols));
    tensors.push_back({name, type, {rows, cols}, RandomBlocks(type, rows * cols, sigma, random_)});
  }
  void Vector(const std::string& name, int64_t size, float mean, float sigma) {
    std::vector<float> values(size);
    for (float& value : values) value = mean + sigma * random_.Gauss();
    tensors.push_back({name, TensorType::kF32, {size}, EncodeFloats(TensorType::kF32, values)});
  }

  std::vector<TinyTensor> tensors;

 private:
  Random random_;
};

void AddLayer(const TinyModelOptions& options, int layer, Builder& builder) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const TensorType type = options.type;
  const int64_t q = options.heads * options.head_dim, kv = options.kv_heads * options.head_dim;
  builder.Vector(prefix + "attn_norm.weight", options.hidden, 1.0f, 0.1f);
  builder.Matrix(prefix + "attn_q.weight", type, q, options.hidden);
  builder.Matrix(prefix + "attn_k.weight", type, kv, options.hidden);
  builder.Matrix(prefix + "attn_v.weight", type, kv, options.hidden);
  if (options.architecture == Architecture::kQwen2) {
    builder.Vector(prefix + "attn_q.bias", q, 0.0f, 0.3f);
    builder.Vector(prefix + "attn_k.bias", kv, 0.0f, 0.3f);
    builder.Vector(prefix + "attn_v.bias", kv, 0.0f, 0.1f);
  }
  if (options.architecture == Architecture::kQwen3) {
    builder.Vector(prefix + "attn_q_norm.weight", options.head_dim, 1.0f, 0.1f);
    builder.Vector(prefix + "attn_k_norm.weight", options.head_dim, 1.0f, 0.1f);
  }
  builder.Matrix(prefix + "attn_output.weight", type, options.hidden, q);
  builder.Vector(prefix + "ffn_norm.weight", options.hidden, 1.0f, 0.1f);
  builder.Matrix(prefix + "ffn_gate.weight", type, options.ffn, options.hidden);
  builder.Matrix(prefix + "ffn_up.weight", type, options.ffn, options.hidden);
  builder.Matrix(prefix + "ffn_down.weight", type, options.hidden, options.ffn);
}

TokenizerSpec MakeTokenizer(const TinyModelOptions& options) {
  if (options.sentencepiece) return MakeSentencePieceTokenizer(options.vocab);
  const bool qwen =
      options.architecture == Architecture::kQwen2 || options.architecture == Architecture::kQwen3;
  const auto usual =
      qwen ? TokenizerSpec::PreTokenizer::kQwen2 : TokenizerSpec::PreTokenizer::kSmolLm;
  return MakeByteLevelTokenizer(options.pre_tokenizer.value_or(usual), options.vocab);
}

}  // namespace

TinyTensor& TinyModel::tensor(const std::string& name) {
  for (TinyTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  KVP_CHECK(false) << "no tensor " << name;
  std::abort();
}

TinyModel MakeTinyModel(const TinyModelOptions& options) {
  Builder builder(options);
  const TensorType embedding_type = options.embedding_type.value_or(options.type);
  builder.Matrix("token_embd.weight", embedding_type, options.vocab, options.hidden);
  for (int layer = 0; layer < options.layers; ++layer) AddLayer(options, layer, builder);
  builder.Vector("output_norm.weight", options.hidden, 1.0f, 0.1f);
  if (!options.tied) {
    builder.Matrix("output.weight", embedding_type, options.vocab, options.hidden);
  }
  return {.options = options,
          .tokenizer = MakeTokenizer(options),
          .chat_template = ChatMlTemplate(),
          .eos_tokens = {kImEnd},
          .tensors = std::move(builder.tensors)};
}

}  // namespace kvpareto::support
