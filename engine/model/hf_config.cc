#include "engine/model/hf_config.h"

#include <algorithm>
#include <limits>

#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

absl::StatusOr<int> Int(const Json& json, std::string_view key, std::optional<int> fallback = {}) {
  KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> value, JsonInt(json, key));
  if (!value.has_value() && fallback.has_value()) return *fallback;
  if (!value.has_value()) return InvalidModelConfig(key, "is missing");
  if (*value < 0 || *value > std::numeric_limits<int32_t>::max()) {
    return InvalidModelConfig(key, std::to_string(*value) + " is out of range");
  }
  return static_cast<int>(*value);
}

absl::StatusOr<double> PositiveNumber(const Json& json, std::string_view key,
                                      std::optional<double> fallback = {}) {
  KVP_ASSIGN_OR_RETURN(const std::optional<double> value, JsonNumber(json, key));
  if (!value.has_value() && fallback.has_value()) return *fallback;
  if (!value.has_value()) return InvalidModelConfig(key, "is missing");
  if (*value <= 0.0) return InvalidModelConfig(key, "is not positive");
  return *value;
}

absl::StatusOr<bool> Bool(const Json& json, std::string_view key, bool fallback) {
  KVP_ASSIGN_OR_RETURN(const std::optional<bool> value, JsonBool(json, key));
  return value.value_or(fallback);
}

absl::StatusOr<Architecture> ReadArchitecture(const Json& config) {
  const Json& list = JsonMember(config, "architectures");
  if (!list.is_array() || list.empty() || !list[0].is_string()) {
    return InvalidModelConfig("architectures", "is missing");
  }
  const std::string name = list[0].get<std::string>();
  if (name == "LlamaForCausalLM") return Architecture::kLlama;
  if (name == "Qwen2ForCausalLM") return Architecture::kQwen2;
  if (name == "Qwen3ForCausalLM") return Architecture::kQwen3;
  if (name == "MistralForCausalLM") return Architecture::kMistral;
  return UnsupportedModel("architectures", name);
}

absl::Status ReadSizes(const Json& json, ModelConfig& config) {
  KVP_ASSIGN_OR_RETURN(config.hidden, Int(json, "hidden_size"));
  KVP_ASSIGN_OR_RETURN(config.ffn, Int(json, "intermediate_size"));
  KVP_ASSIGN_OR_RETURN(config.layers, Int(json, "num_hidden_layers"));
  KVP_ASSIGN_OR_RETURN(config.heads, Int(json, "num_attention_heads"));
  if (config.heads < 1) return InvalidModelConfig("num_attention_heads", "is 0");
  KVP_ASSIGN_OR_RETURN(config.kv_heads, Int(json, "num_key_value_heads", config.heads));
  KVP_ASSIGN_OR_RETURN(config.head_dim, Int(json, "head_dim", config.hidden / config.heads));
  KVP_ASSIGN_OR_RETURN(config.vocab, Int(json, "vocab_size"));
  KVP_ASSIGN_OR_RETURN(config.context_tokens, Int(json, "max_position_embeddings"));
  KVP_ASSIGN_OR_RETURN(const double epsilon, PositiveNumber(json, "rms_norm_eps", 1e-6));
  config.rms_epsilon = static_cast<float>(epsilon);
  if (config.head_dim > 1 << 16) {
    return InvalidModelConfig("head_dim", std::to_string(config.head_dim) + " is out of range");
  }
  return absl::OkStatus();
}

// What would change the forward pass and is not implemented is refused, never ignored.
absl::Status CheckVariant(const Json& json) {
  KVP_ASSIGN_OR_RETURN(const auto activation, JsonString(json, "hidden_act"));
  if (activation.value_or("silu") != "silu") return UnsupportedModel("hidden_act", *activation);
  KVP_ASSIGN_OR_RETURN(const bool mlp_bias, Bool(json, "mlp_bias", false));
  if (mlp_bias) return UnsupportedModel("mlp_bias", "true");
  KVP_ASSIGN_OR_RETURN(const auto rotary, JsonNumber(json, "partial_rotary_factor"));
  if (rotary.value_or(1.0) != 1.0) {
    return UnsupportedModel("partial_rotary_factor", std::to_string(*rotary));
  }
  return absl::OkStatus();
}

absl::Status ScaleRope(const Json& scaling, ModelConfig& config) {
  if (scaling.is_null()) return absl::OkStatus();
  // Older files say "type", newer ones "rope_type", some both.
  KVP_ASSIGN_OR_RETURN(auto type, JsonString(scaling, "rope_type"));
  if (!type.has_value()) {
    KVP_ASSIGN_OR_RETURN(type, JsonString(scaling, "type"));
  }
  if (!type.has_value()) return InvalidModelConfig("rope_scaling", "has no rope_type");
  if (*type == "default") return absl::OkStatus();
  if (*type == "linear") {
    KVP_ASSIGN_OR_RETURN(const double factor, PositiveNumber(scaling, "factor"));
    ApplyLinearRopeScaling(factor, config.inverse_frequency);
    return absl::OkStatus();
  }
  if (*type != "llama3") return UnsupportedModel("rope_scaling", *type);
  Llama3RopeScaling llama3;
  KVP_ASSIGN_OR_RETURN(llama3.factor, PositiveNumber(scaling, "factor"));
  KVP_ASSIGN_OR_RETURN(llama3.low_freq_factor, PositiveNumber(scaling, "low_freq_factor"));
  KVP_ASSIGN_OR_RETURN(llama3.high_freq_factor, PositiveNumber(scaling, "high_freq_factor"));
  KVP_ASSIGN_OR_RETURN(llama3.original_context_tokens,
                       PositiveNumber(scaling, "original_max_position_embeddings"));
  if (llama3.high_freq_factor <= llama3.low_freq_factor) {
    return InvalidModelConfig("rope_scaling", "high_freq_factor is not above low_freq_factor");
  }
  ApplyLlama3RopeScaling(llama3, config.inverse_frequency);
  return absl::OkStatus();
}

absl::Status ReadRope(const Json& json, ModelConfig& config) {
  // transformers 5 writes one object "rope_parameters" instead of rope_theta and rope_scaling.
  const Json& parameters = JsonMember(json, "rope_parameters");
  const bool merged = parameters.is_object();
  KVP_ASSIGN_OR_RETURN(const double base,
                       PositiveNumber(merged ? parameters : json, "rope_theta", 10000.0));
  if (!(base > 1.0)) return InvalidModelConfig("rope_theta", "is not above 1");
  config.inverse_frequency = RopeInverseFrequency(base, config.head_dim);
  return ScaleRope(merged ? parameters : JsonMember(json, "rope_scaling"), config);
}

absl::Status ReadSlidingWindow(const Json& json, ModelConfig& config) {
  KVP_ASSIGN_OR_RETURN(const int window, Int(json, "sliding_window", 0));
  if (config.architecture == Architecture::kLlama) return absl::OkStatus();  // not a field of it
  if (config.architecture != Architecture::kMistral) {
    KVP_ASSIGN_OR_RETURN(const bool used, Bool(json, "use_sliding_window", false));
    KVP_ASSIGN_OR_RETURN(const int full_layers, Int(json, "max_window_layers", config.layers));
    // Qwen applies the window to the layers from max_window_layers on.
    if (!used || full_layers >= config.layers) return absl::OkStatus();
    if (window > 0 && full_layers > 0) {
      return UnsupportedModel("max_window_layers", std::to_string(full_layers));
    }
  }
  config.sliding_window = window;
  return absl::OkStatus();
}

// A token id, or a list of them.
absl::Status AddTokens(const Json& json, std::string_view key, std::vector<int32_t>& tokens) {
  const Json& value = JsonMember(json, key);
  if (value.is_null()) return absl::OkStatus();
  for (const Json& token : value.is_array() ? value : Json::array({value})) {
    if (!token.is_number_unsigned() ||
        token.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      return InvalidModelConfig(key, "is no token");
    }
    const int32_t id = token.get<int32_t>();
    if (std::find(tokens.begin(), tokens.end(), id) == tokens.end()) tokens.push_back(id);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadHfConfig(const Json& json, const Json& generation) {
  if (!json.is_object()) return CorruptFile("config.json is no JSON object");
  ModelConfig config;
  KVP_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(json));
  KVP_ASSIGN_OR_RETURN(const auto name, JsonString(json, "_name_or_path"));
  config.name = name.value_or("");
  KVP_RETURN_IF_ERROR(ReadSizes(json, config));
  KVP_RETURN_IF_ERROR(CheckVariant(json));
  KVP_RETURN_IF_ERROR(ReadRope(json, config));
  KVP_RETURN_IF_ERROR(ReadSlidingWindow(json, config));
  const bool qwen2 = config.architecture == Architecture::kQwen2;
  KVP_ASSIGN_OR_RETURN(config.qkv_bias, Bool(json, "attention_bias", qwen2));
  if (qwen2) config.qkv_bias = true;  // not a choice there
  config.qk_norm = config.architecture == Architecture::kQwen3;
  KVP_ASSIGN_OR_RETURN(config.tied_head, Bool(json, "tie_word_embeddings", false));
  KVP_RETURN_IF_ERROR(AddTokens(generation, "eos_token_id", config.eos_tokens));
  KVP_RETURN_IF_ERROR(AddTokens(json, "eos_token_id", config.eos_tokens));
  std::vector<int32_t> bos;
  KVP_RETURN_IF_ERROR(AddTokens(json, "bos_token_id", bos));
  if (!bos.empty()) config.bos_token = bos[0];
  return config;
}

}  // namespace kvpareto
