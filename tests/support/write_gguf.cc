#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/base/check.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/random_blocks.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::support {
namespace {

std::string GgufArchitecture(Architecture architecture) {
  switch (architecture) {
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kLlama:
    case Architecture::kMistral:
      return "llama";  // Mistral files carry Llama's name
  }
  KVP_CHECK(false) << "unknown architecture";
  std::abort();
}

void AddConfig(const TinyModelOptions& options, GgufWriter& writer) {
  const std::string arch = GgufArchitecture(options.architecture);
  writer.AddString("general.architecture", arch);
  writer.AddString("general.name", "tiny");
  writer.AddU32(arch + ".block_count", options.layers);
  writer.AddU32(arch + ".context_length", options.context_tokens);
  writer.AddU32(arch + ".embedding_length", options.hidden);
  writer.AddU32(arch + ".feed_forward_length", options.ffn);
  writer.AddU32(arch + ".attention.head_count", options.heads);
  writer.AddU32(arch + ".attention.head_count_kv", options.kv_heads);
  writer.AddU32(arch + ".attention.key_length", options.head_dim);
  writer.AddU32(arch + ".attention.value_length", options.head_dim);
  writer.AddF32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  writer.AddF32(arch + ".rope.freq_base", static_cast<float>(options.rope_base));
  if (options.sliding_window > 0) {
    writer.AddU32(arch + ".attention.sliding_window", options.sliding_window);
  }
  if (options.linear_rope_factor > 0) {
    writer.AddString(arch + ".rope.scaling.type", "linear");
    writer.AddF32(arch + ".rope.scaling.factor", static_cast<float>(options.linear_rope_factor));
  }
}

int GgufTokenType(TokenKind kind) {
  switch (kind) {
    case TokenKind::kNormal:
      return 1;
    case TokenKind::kUnknown:
      return 2;
    case TokenKind::kSpecial:
      return 3;
    case TokenKind::kUserDefined:
      return 4;
    case TokenKind::kUnused:
      return 5;
    case TokenKind::kByte:
      return 6;
  }
  return 1;
}

std::string PreTokenizerName(TokenizerSpec::PreTokenizer pre_tokenizer) {
  switch (pre_tokenizer) {
    case TokenizerSpec::PreTokenizer::kSmolLm:
      return "smollm";
    case TokenizerSpec::PreTokenizer::kQwen2:
      return "qwen2";
    case TokenizerSpec::PreTokenizer::kLlama3:
      return "llama-bpe";
    case TokenizerSpec::PreTokenizer::kGpt2:
      return "gpt-2";
  }
  return "default";
}

void AddTokenizer(const TinyModel& model, GgufWriter& writer) {
  const TokenizerSpec& spec = model.tokenizer;
  const bool byte_level = spec.model == TokenizerSpec::Model::kByteLevelBpe;
  writer.AddString("tokenizer.ggml.model", byte_level ? "gpt2" : "llama");
  if (byte_level) {
    writer.AddString("tokenizer.ggml.pre", PreTokenizerName(spec.pre_tokenizer));
    std::vector<std::string> merges;
    for (const auto& [left, right] : spec.merges) merges.push_back(left + " " + right);
    writer.AddStrings("tokenizer.ggml.merges", merges);
  } else {
    writer.AddF32s("tokenizer.ggml.scores", spec.scores);
    writer.AddBool("tokenizer.ggml.add_space_prefix", spec.add_space_prefix);
  }
  std::vector<int32_t> types;
  for (TokenKind kind : spec.kinds) types.push_back(GgufTokenType(kind));
  writer.AddStrings("tokenizer.ggml.tokens", spec.tokens);
  writer.AddI32s("tokenizer.ggml.token_type", types);
  writer.AddU32("tokenizer.ggml.bos_token_id", spec.bos_token);
  writer.AddU32("tokenizer.ggml.unknown_token_id", spec.unknown_token);
  if (!model.eos_tokens.empty()) {
    writer.AddU32("tokenizer.ggml.eos_token_id", model.eos_tokens[0]);
  }
  if (model.eos_tokens.size() > 1) {
    writer.AddU32("tokenizer.ggml.eot_token_id", model.eos_tokens[1]);
  }
  writer.AddBool("tokenizer.ggml.add_bos_token", spec.add_bos);
  if (!model.chat_template.empty()) {
    writer.AddString("tokenizer.chat_template", model.chat_template);
  }
}

// Llama-3 files hold the divisor of each frequency instead of the scaling's parameters.
void AddRopeFrequencies(const TinyModelOptions& options, GgufWriter& writer) {
  const Llama3RopeScaling& scaling = *options.llama3_rope;
  std::vector<float> divisors;
  for (int i = 0; i < options.head_dim / 2; ++i) {
    const double frequency = std::pow(options.rope_base, -2.0 * i / options.head_dim);
    const double turns = scaling.original_context_tokens * frequency / (2 * std::numbers::pi);
    double divisor = 1.0;
    if (turns < scaling.low_freq_factor) {
      divisor = scaling.factor;
    } else if (turns < scaling.high_freq_factor) {
      const double smooth =
          (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      divisor = 1.0 / ((1.0 - smooth) / scaling.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  const std::vector<std::byte> data = EncodeFloats(TensorType::kF32, divisors);
  writer.AddTensor("rope_freqs.weight", {divisors.size()}, GgmlType(TensorType::kF32),
                   {reinterpret_cast<const char*>(data.data()), data.size()});
}

// Q and K rows of each head in the file's order: first of the lower half, first of the upper...
std::string Interleaved(const TinyTensor& tensor, int head_dim) {
  const size_t rows = tensor.shape[0], row_bytes = tensor.data.size() / rows;
  std::string out(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  const bool whole_heads = head_dim > 0 && head_dim % 2 == 0 && rows % head_dim == 0;
  if (!whole_heads) return out;  // sizes that a test made wrong
  for (size_t row = 0; row < rows; ++row) {
    const size_t within = row % head_dim, half = head_dim / 2;
    const size_t stored = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
    std::memcpy(&out[stored * row_bytes], &tensor.data[row * row_bytes], row_bytes);
  }
  return out;
}

bool IsQueryOrKey(const std::string& name) {
  return name.find(".attn_q.") != std::string::npos || name.find(".attn_k.") != std::string::npos;
}

}  // namespace

void WriteGguf(const TinyModel& model, const std::string& path) {
  GgufWriter writer;
  AddConfig(model.options, writer);
  AddTokenizer(model, writer);
  const bool interleave = GgufArchitecture(model.options.architecture) == "llama";
  for (const TinyTensor& tensor : model.tensors) {
    const std::vector<uint64_t> dims(tensor.shape.rbegin(), tensor.shape.rend());
    std::string data(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    if (interleave && IsQueryOrKey(tensor.name)) {
      data = Interleaved(tensor, model.options.head_dim);
    }
    writer.AddTensor(tensor.name, dims, GgmlType(tensor.type), data);
  }
  if (model.options.llama3_rope.has_value()) AddRopeFrequencies(model.options, writer);
  WriteBytes(path, writer.Finish());
}

}  // namespace kvpareto::support
