#include "engine/model/hf_writer.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/base/check.h"
#include "engine/base/mapped_file.h"
#include "engine/model/hf_tokenizer_writer.h"

namespace kvpareto {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = 1 << 20;

absl::Status WriteJson(const Json& json, const std::string& path) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << json.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  file.close();
  if (!file.fail()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

// 1e-06 for 1e-6f, not 9.99999997e-07.
double ShortestDecimal(float x) {
  char text[64] = {};
  std::to_chars(text, text + sizeof(text) - 1, x);
  return std::strtod(text, nullptr);
}

struct ArchitectureNames {
  const char* class_name;
  const char* model_type;
};
ArchitectureNames NamesOf(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return {"LlamaForCausalLM", "llama"};
    case Architecture::kQwen2:
      return {"Qwen2ForCausalLM", "qwen2"};
    case Architecture::kQwen3:
      return {"Qwen3ForCausalLM", "qwen3"};
    case Architecture::kMistral:
      return {"MistralForCausalLM", "mistral"};
  }
  KVP_CHECK(false) << "unknown architecture";
  std::abort();
}

// The frequencies of a GGUF file as rope_theta and, where positions are interpolated, a linear
// factor: f[i] = theta^(-2i/d) / factor.
absl::Status AddRope(const ModelConfig& model, Json& config) {
  const std::vector<float>& f = model.inverse_frequency;
  const double d = model.head_dim;
  double base = std::pow(double{f.front()} / f.back(), d / (d - 2.0));
  if (std::abs(base - std::round(base)) < 1e-6 * base) base = std::round(base);
  double factor = 1.0 / f.front();
  if (std::abs(factor - std::round(factor)) < 1e-6 * factor) factor = std::round(factor);
  std::vector<float> again = RopeInverseFrequency(base, model.head_dim);
  ApplyLinearRopeScaling(factor, again);
  for (size_t i = 0; i < f.size(); ++i) {
    if (std::abs(again[i] - f[i]) <= 1e-5f * f[i]) continue;
    return MakeError(absl::StatusCode::kUnimplemented, "ROPE_NOT_EXPRESSIBLE",
                     "the file's RoPE frequencies cannot be written as a Hugging Face "
                     "configuration; start from the model's Hugging Face directory");
  }
  config["rope_theta"] = base;
  config["rope_scaling"] = nullptr;
  if (factor != 1.0) {
    config["rope_scaling"] = {{"type", "linear"}, {"rope_type", "linear"}, {"factor", factor}};
  }
  return absl::OkStatus();
}

void AddWindow(const ModelConfig& model, Json& config) {
  config["sliding_window"] = nullptr;
  if (model.sliding_window > 0) config["sliding_window"] = model.sliding_window;
  if (model.architecture == Architecture::kQwen2 || model.architecture == Architecture::kQwen3) {
    config["use_sliding_window"] = model.sliding_window > 0;
    config["max_window_layers"] = model.sliding_window > 0 ? 0 : model.layers;
  }
}

absl::StatusOr<Json> MakeConfig(const ModelConfig& model) {
  const ArchitectureNames names = NamesOf(model.architecture);
  Json config = {{"architectures", {names.class_name}},
                 {"model_type", names.model_type},
                 {"hidden_size", model.hidden},
                 {"intermediate_size", model.ffn},
                 {"num_hidden_layers", model.layers},
                 {"num_attention_heads", model.heads},
                 {"num_key_value_heads", model.kv_heads},
                 {"head_dim", model.head_dim},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", ShortestDecimal(model.rms_epsilon)},
                 {"max_position_embeddings", model.context_tokens},
                 {"vocab_size", model.vocab},
                 {"tie_word_embeddings", model.tied_head},
                 {"use_cache", true}};
  if (model.architecture == Architecture::kLlama) {
    config["attention_bias"] = model.qkv_bias;
    config["mlp_bias"] = false;
  }
  if (model.bos_token >= 0) config["bos_token_id"] = model.bos_token;
  if (!model.eos_tokens.empty()) config["eos_token_id"] = model.eos_tokens[0];
  KVP_RETURN_IF_ERROR(AddRope(model, config));
  AddWindow(model, config);
  return config;
}

void AddQuantization(const Json& quantization, Json& config) {
  config.erase("torch_dtype");
  config.erase("dtype");
  config["torch_dtype"] = "float16";
  config["quantization_config"] = quantization;
}

absl::Status MakeFiles(const ModelSource& source, const Json& quantization,
                       const std::string& directory) {
  KVP_ASSIGN_OR_RETURN(Json config, MakeConfig(source.config()));
  AddQuantization(quantization, config);
  const std::vector<int32_t>& eos_tokens = source.config().eos_tokens;
  KVP_RETURN_IF_ERROR(WriteJson(config, directory + "/config.json"));
  KVP_RETURN_IF_ERROR(
      WriteJson({{"eos_token_id", eos_tokens}}, directory + "/generation_config.json"));
  KVP_RETURN_IF_ERROR(
      WriteJson(HfTokenizerJson(source.tokenizer()), directory + "/tokenizer.json"));
  return WriteJson(HfTokenizerConfig(source.tokenizer(), eos_tokens, source.chat_template()),
                   directory + "/tokenizer_config.json");
}

absl::Status CopyFiles(const std::string& path, const Json& quantization,
                       const std::string& directory) {
  KVP_ASSIGN_OR_RETURN(Json config, ReadJsonFile(path + "/config.json", kMaxConfigBytes));
  AddQuantization(quantization, config);
  KVP_RETURN_IF_ERROR(WriteJson(config, directory + "/config.json"));
  for (const char* name : {"generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
                           "vocab.json", "merges.txt", "chat_template.jinja"}) {
    const std::string from = path + "/" + name, to = directory + "/" + name;
    std::error_code error;
    if (!fs::exists(from, error)) continue;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
    if (error) {
      return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE",
                       "cannot write " + to + ": " + error.message(), {{"path", to}});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteHfFiles(const ModelSource& source, const std::string& path,
                          const Json& quantization, const std::string& directory) {
  std::error_code error;
  return fs::is_directory(path, error) ? CopyFiles(path, quantization, directory)
                                       : MakeFiles(source, quantization, directory);
}

}  // namespace kvpareto
