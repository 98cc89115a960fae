#include <cmath>
#include <limits>

#include "engine/model/gguf_metadata.h"
#include "engine/model/model_error.h"
#include "engine/ops/dequantize.h"

namespace kvpareto {
namespace {

// Look-ups under the architecture's prefix.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, std::string prefix)
      : file_(file), prefix_(std::move(prefix)) {}

  std::string Key(std::string_view name) const { return prefix_ + "." + std::string(name); }

  absl::StatusOr<std::optional<int>> OptionalInt(std::string_view name) const {
    KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> value, file_.Int(Key(name)));
    if (!value.has_value()) return std::optional<int>();
    if (*value < 0 || *value > std::numeric_limits<int32_t>::max()) {
      return InvalidModelConfig(Key(name), std::to_string(*value) + " is out of range");
    }
    return std::optional<int>(static_cast<int>(*value));
  }
  absl::StatusOr<int> Int(std::string_view name, std::optional<int> fallback = {}) const {
    KVP_ASSIGN_OR_RETURN(const std::optional<int> value, OptionalInt(name));
    if (value.has_value()) return *value;
    if (fallback.has_value()) return *fallback;
    return InvalidModelConfig(Key(name), "is missing");
  }
  absl::StatusOr<double> Number(std::string_view name, std::optional<double> fallback = {}) const {
    KVP_ASSIGN_OR_RETURN(const std::optional<double> value, file_.Number(Key(name)));
    if (value.has_value()) return *value;
    if (fallback.has_value()) return *fallback;
    return InvalidModelConfig(Key(name), "is missing");
  }
  const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

absl::Status ReadSizes(const ConfigReader& reader, ModelConfig& config) {
  KVP_ASSIGN_OR_RETURN(config.layers, reader.Int("block_count"));
  KVP_ASSIGN_OR_RETURN(config.context_tokens, reader.Int("context_length"));
  KVP_ASSIGN_OR_RETURN(config.hidden, reader.Int("embedding_length"));
  KVP_ASSIGN_OR_RETURN(config.ffn, reader.Int("feed_forward_length"));
  KVP_ASSIGN_OR_RETURN(config.heads, reader.Int("attention.head_count"));
  if (config.heads < 1) return InvalidModelConfig(reader.Key("attention.head_count"), "is 0");
  KVP_ASSIGN_OR_RETURN(config.kv_heads, reader.Int("attention.head_count_kv", config.heads));
  KVP_ASSIGN_OR_RETURN(config.head_dim,
                       reader.Int("attention.key_length", config.hidden / config.heads));
  KVP_ASSIGN_OR_RETURN(const int value_dim, reader.Int("attention.value_length", config.head_dim));
  KVP_ASSIGN_OR_RETURN(const int rope_dim, reader.Int("rope.dimension_count", config.head_dim));
  KVP_ASSIGN_OR_RETURN(const int experts, reader.Int("expert_count", 0));
  KVP_ASSIGN_OR_RETURN(config.sliding_window, reader.Int("attention.sliding_window", 0));
  KVP_ASSIGN_OR_RETURN(const double epsilon, reader.Number("attention.layer_norm_rms_epsilon"));
  config.rms_epsilon = static_cast<float>(epsilon);
  if (value_dim != config.head_dim) {
    return UnsupportedModel(reader.Key("attention.value_length"), std::to_string(value_dim));
  }
  if (rope_dim != config.head_dim) {
    return UnsupportedModel(reader.Key("rope.dimension_count"), std::to_string(rope_dim));
  }
  if (experts != 0) return UnsupportedModel(reader.Key("expert_count"), std::to_string(experts));
  return absl::OkStatus();
}

// Llama-3 files carry the divisor of each frequency as a tensor.
absl::Status ApplyRopeDivisors(const GgufFile& file, std::vector<float>& inverse_frequency) {
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.name != "rope_freqs.weight") continue;
    if (tensor.shape != std::vector<int64_t>{static_cast<int64_t>(inverse_frequency.size())} ||
        tensor.type != TensorType::kF32) {
      return InvalidModelConfig(tensor.name, "is not one F32 for each pair of the head size");
    }
    std::vector<float> divisors(inverse_frequency.size());
    DequantizeRow(tensor.type, tensor.data, divisors);
    for (size_t i = 0; i < divisors.size(); ++i) {
      if (!std::isfinite(divisors[i]) || divisors[i] <= 0.0f) {
        return InvalidModelConfig(tensor.name, "holds a divisor that is not positive");
      }
      inverse_frequency[i] /= divisors[i];
    }
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const ConfigReader& reader, ModelConfig& config) {
  KVP_ASSIGN_OR_RETURN(const double base, reader.Number("rope.freq_base", 10000.0));
  if (!(base > 1.0)) return InvalidModelConfig(reader.Key("rope.freq_base"), "is not above 1");
  config.inverse_frequency = RopeInverseFrequency(base, config.head_dim);
  KVP_ASSIGN_OR_RETURN(const std::optional<std::string_view> scaling,
                       reader.file().String(reader.Key("rope.scaling.type")));
  if (scaling.has_value() && *scaling != "none") {
    if (*scaling != "linear") return UnsupportedModel(reader.Key("rope.scaling.type"), *scaling);
    KVP_ASSIGN_OR_RETURN(const double factor, reader.Number("rope.scaling.factor"));
    if (!(factor > 0.0)) {
      return InvalidModelConfig(reader.Key("rope.scaling.factor"), "is not positive");
    }
    ApplyLinearRopeScaling(factor, config.inverse_frequency);
  }
  return ApplyRopeDivisors(reader.file(), config.inverse_frequency);
}

absl::StatusOr<std::optional<int32_t>> TokenId(const GgufFile& file, std::string_view key) {
  KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> id, file.Int(key));
  if (!id.has_value()) return std::optional<int32_t>();
  if (*id < 0 || *id > std::numeric_limits<int32_t>::max()) {
    return InvalidModelConfig(key, std::to_string(*id) + " is no token");
  }
  return std::optional<int32_t>(static_cast<int32_t>(*id));
}

absl::Status ReadTokens(const GgufFile& file, ModelConfig& config) {
  KVP_ASSIGN_OR_RETURN(const auto bos, TokenId(file, "tokenizer.ggml.bos_token_id"));
  KVP_ASSIGN_OR_RETURN(const auto eos, TokenId(file, "tokenizer.ggml.eos_token_id"));
  KVP_ASSIGN_OR_RETURN(const auto eot, TokenId(file, "tokenizer.ggml.eot_token_id"));
  config.bos_token = bos.value_or(-1);
  if (eos.has_value()) config.eos_tokens.push_back(*eos);
  if (eot.has_value() && eot != eos) config.eos_tokens.push_back(*eot);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> GgufArchitecture(const GgufFile& file) {
  KVP_ASSIGN_OR_RETURN(const auto name, file.String("general.architecture"));
  if (!name.has_value()) return InvalidModelConfig("general.architecture", "is missing");
  if (*name != "llama" && *name != "qwen2" && *name != "qwen3") {
    return UnsupportedModel("general.architecture", *name);
  }
  return std::string(*name);
}

absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file, const TensorCatalog& tensors) {
  KVP_ASSIGN_OR_RETURN(const std::string architecture, GgufArchitecture(file));
  const ConfigReader reader(file, architecture);
  ModelConfig config;
  KVP_RETURN_IF_ERROR(ReadSizes(reader, config));
  // Mistral's files carry Llama's name; the window is what tells them apart.
  config.architecture = architecture == "qwen2"     ? Architecture::kQwen2
                        : architecture == "qwen3"   ? Architecture::kQwen3
                        : config.sliding_window > 0 ? Architecture::kMistral
                                                    : Architecture::kLlama;
  KVP_ASSIGN_OR_RETURN(const auto name, file.String("general.name"));
  config.name = std::string(name.value_or(architecture));
  if (config.head_dim < 0 || config.head_dim > 1 << 16) {
    return InvalidModelConfig(reader.Key("attention.key_length"),
                              std::to_string(config.head_dim) + " is out of range");
  }
  KVP_RETURN_IF_ERROR(ReadRope(reader, config));
  KVP_RETURN_IF_ERROR(ReadTokens(file, config));
  const auto embedding = tensors.find("token_embd.weight");
  if (embedding == tensors.end()) {
    return InvalidModelConfig("token_embd.weight", "the file has no such tensor");
  }
  const int64_t vocab = embedding->second.rows();
  if (vocab > std::numeric_limits<int32_t>::max()) {
    return InvalidModelConfig("vocab", std::to_string(vocab) + " is out of range");
  }
  config.vocab = static_cast<int>(vocab);
  config.qkv_bias = tensors.contains("blk.0.attn_q.bias");
  config.qk_norm = config.architecture == Architecture::kQwen3;
  config.tied_head = !tensors.contains("output.weight");
  return config;
}

}  // namespace kvpareto
