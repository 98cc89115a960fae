#include "engine/model/model_config.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

// Generous bounds: far above any published model, low enough that products of sizes fit 63 bits and
// a lying file cannot make the engine plan an absurd amount of memory.
constexpr int kMaxLayers = 1024;
constexpr int kMaxWidth = 1 << 18;          // hidden, ffn, heads * head_dim
constexpr int kMaxVocab = 1 << 22;          // tokens
constexpr int kMaxContextTokens = 1 << 24;  // float positions stay exact
constexpr int kMaxHeadDim = 256;
constexpr int kHeadDimMultiple = 16;  // attention kernels work on 16 lanes

absl::Status Invalid(std::string_view field, const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL_CONFIG_INVALID",
                   absl::StrCat(std::string(field), ": ", message),
                   {{"field", std::string(field)}});
}

absl::Status InRange(std::string_view field, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(field, absl::StrCat(value, " is not in [", low, ", ", high, "]"));
}

absl::Status CheckHeads(const ModelConfig& config) {
  KVP_RETURN_IF_ERROR(InRange("heads", config.heads, 1, kMaxWidth / kHeadDimMultiple));
  KVP_RETURN_IF_ERROR(InRange("kv_heads", config.kv_heads, 1, config.heads));
  KVP_RETURN_IF_ERROR(InRange("head_dim", config.head_dim, kHeadDimMultiple, kMaxHeadDim));
  if (config.head_dim % kHeadDimMultiple != 0) {
    return Invalid("head_dim",
                   absl::StrCat(config.head_dim, " is not a multiple of ", kHeadDimMultiple));
  }
  if (config.heads % config.kv_heads != 0) {
    return Invalid("kv_heads", absl::StrCat(config.kv_heads, " does not divide the ", config.heads,
                                            " query heads"));
  }
  return InRange("heads * head_dim", config.heads * config.head_dim, 1, kMaxWidth);
}

absl::Status CheckRope(const ModelConfig& config) {
  if (config.inverse_frequency.size() != static_cast<size_t>(config.head_dim) / 2) {
    return Invalid("inverse_frequency", absl::StrCat(config.inverse_frequency.size(),
                                                     " values for head_dim ", config.head_dim));
  }
  for (float frequency : config.inverse_frequency) {
    // A rotation of more than one radian per token is no RoPE frequency.
    if (!(frequency >= 0.0f && frequency <= 1.0f)) {
      return Invalid("inverse_frequency", absl::StrCat(frequency, " is not in [0, 1]"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(const ModelConfig& config) {
  KVP_RETURN_IF_ERROR(InRange("bos_token", config.bos_token, -1, config.vocab - 1));
  for (int32_t token : config.eos_tokens) {
    KVP_RETURN_IF_ERROR(InRange("eos_tokens", token, 0, config.vocab - 1));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view ArchitectureName(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kMistral:
      return "mistral";
  }
  return "unknown";
}

absl::Status ModelConfig::Validate() const {
  KVP_RETURN_IF_ERROR(InRange("layers", layers, 1, kMaxLayers));
  KVP_RETURN_IF_ERROR(InRange("hidden", hidden, 1, kMaxWidth));
  KVP_RETURN_IF_ERROR(InRange("ffn", ffn, 1, kMaxWidth));
  KVP_RETURN_IF_ERROR(InRange("vocab", vocab, 1, kMaxVocab));
  KVP_RETURN_IF_ERROR(InRange("context_tokens", context_tokens, 1, kMaxContextTokens));
  KVP_RETURN_IF_ERROR(InRange("sliding_window", sliding_window, 0, kMaxContextTokens));
  KVP_RETURN_IF_ERROR(CheckHeads(*this));
  if (!(rms_epsilon > 0.0f && rms_epsilon < 1.0f)) {
    return Invalid("rms_epsilon", absl::StrCat(rms_epsilon, " is not in (0, 1)"));
  }
  KVP_RETURN_IF_ERROR(CheckRope(*this));
  return CheckTokens(*this);
}

std::vector<float> RopeInverseFrequency(double base, int head_dim) {
  std::vector<float> frequencies(head_dim / 2);
  for (int i = 0; i < head_dim / 2; ++i) {
    frequencies[i] = static_cast<float>(std::pow(base, -2.0 * i / head_dim));
  }
  return frequencies;
}

void ApplyLinearRopeScaling(double factor, std::vector<float>& inverse_frequency) {
  for (float& frequency : inverse_frequency) frequency = static_cast<float>(frequency / factor);
}

void ApplyLlama3RopeScaling(const Llama3RopeScaling& scaling,
                            std::vector<float>& inverse_frequency) {
  for (float& frequency : inverse_frequency) {
    // Turns of this pair over the original context decide: few turns are stretched, many kept.
    const double turns = scaling.original_context_tokens * frequency / (2 * std::numbers::pi);
    const double smooth =
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    const double kept = turns < scaling.low_freq_factor    ? 0.0
                        : turns > scaling.high_freq_factor ? 1.0
                                                           : smooth;
    frequency = static_cast<float>((1.0 - kept) * frequency / scaling.factor + kept * frequency);
  }
}

}  // namespace kvpareto
