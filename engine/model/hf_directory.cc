// A Hugging Face directory: config.json, generation_config.json, tokenizer.json,
// tokenizer_config.json, chat_template.jinja, and safetensors with or without an index.
#include <array>
#include <filesystem>
#include <set>

#include "engine/model/hf_config.h"
#include "engine/model/hf_tokenizer.h"
#include "engine/model/loaded_model.h"
#include "engine/model/model_error.h"
#include "engine/model/safetensors.h"

namespace kvpareto {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxTokenizerBytes = 128 << 20;
constexpr size_t kMaxIndexBytes = 64 << 20;

std::string FileIn(const std::string& directory, std::string_view name) {
  return directory + "/" + std::string(name);
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Null when there is no such file.
absl::StatusOr<Json> ReadOptionalJson(const std::string& path, size_t max_bytes) {
  if (!Exists(path)) return Json();
  return ReadJsonFile(path, max_bytes);
}

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". A name that is not known stays
// as it is, and is refused by CheckTensors.
std::string CanonicalName(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kWhole = {{
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
  }};
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kParts = {{
      {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
  }};
  for (const auto& [hf, canonical] : kWhole) {
    if (name == hf) return std::string(canonical);
  }
  constexpr std::string_view kLayers = "model.layers.";
  const size_t layer_end = name.find('.', kLayers.size());
  const size_t suffix = name.rfind('.');
  if (!name.starts_with(kLayers) || layer_end == name.npos || suffix <= layer_end) {
    return std::string(name);
  }
  const std::string_view layer = name.substr(kLayers.size(), layer_end - kLayers.size());
  const std::string_view part = name.substr(layer_end + 1, suffix - layer_end - 1);
  for (const auto& [hf, canonical] : kParts) {
    if (part != hf) continue;
    std::string out = "blk.";
    return out.append(layer).append(".").append(canonical).append(name.substr(suffix));
  }
  return std::string(name);
}

// Buffers that old versions of transformers saved beside the weights.
bool IsDerived(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

// Adds the tensors of one file: all, or those that `wanted` says it holds.
absl::Status AddFile(const std::string& path, const std::set<std::string>* wanted,
                     LoadedModel& model) {
  KVP_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  absl::StatusOr<std::vector<TensorView>> tensors = ParseSafetensors(file->bytes());
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  size_t taken = 0;
  for (TensorView& tensor : *tensors) {
    if (wanted != nullptr && !wanted->contains(tensor.name)) continue;
    ++taken;
    if (IsDerived(tensor.name)) continue;
    tensor.name = CanonicalName(tensor.name);
    const std::string name = tensor.name;
    if (!model.tensors.emplace(name, std::move(tensor)).second) {
      return CorruptFile(path + ": tensor " + Printable(name) + " occurs twice");
    }
  }
  if (wanted != nullptr && taken != wanted->size()) {
    return CorruptFile(path + ": lacks tensors that the index says it holds");
  }
  model.files.push_back(file);
  return absl::OkStatus();
}

absl::Status AddShards(const std::string& directory, const std::string& index_path,
                       LoadedModel& model) {
  KVP_ASSIGN_OR_RETURN(const Json index, ReadJsonFile(index_path, kMaxIndexBytes));
  const Json& weight_map = JsonMember(index, "weight_map");
  if (!weight_map.is_object() || weight_map.empty()) {
    return CorruptFile(index_path + ": weight_map is no object");
  }
  std::map<std::string, std::set<std::string>> by_file;
  for (const auto& [tensor, file] : weight_map.items()) {
    if (!file.is_string()) return CorruptFile(index_path + ": weight_map holds no file name");
    by_file[file.get<std::string>()].insert(tensor);
  }
  for (const auto& [file, tensors] : by_file) {
    if (file.empty() || file.front() == '.' || file.find('/') != file.npos ||
        file.find('\0') != file.npos) {
      return CorruptFile(index_path + ": \"" + Printable(file) + "\" is no plain file name");
    }
    KVP_RETURN_IF_ERROR(AddFile(FileIn(directory, file), &tensors, model));
  }
  return absl::OkStatus();
}

absl::Status AddTensors(const std::string& directory, LoadedModel& model) {
  const std::string single = FileIn(directory, "model.safetensors");
  const std::string index = FileIn(directory, "model.safetensors.index.json");
  KVP_RETURN_IF_ERROR(Exists(single) || !Exists(index) ? AddFile(single, nullptr, model)
                                                       : AddShards(directory, index, model));
  if (model.config.tied_head) model.tensors.erase("output.weight");  // a copy, by the config's word
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadChatTemplate(const std::string& directory, const Json& settings) {
  const std::string file = FileIn(directory, "chat_template.jinja");
  if (Exists(file)) return ReadFile(file, kMaxConfigBytes);
  return ReadHfChatTemplate(settings);
}

}  // namespace

absl::StatusOr<LoadedModel> LoadHfDirectory(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const Json config,
                       ReadJsonFile(FileIn(path, "config.json"), kMaxConfigBytes));
  KVP_ASSIGN_OR_RETURN(const Json generation,
                       ReadOptionalJson(FileIn(path, "generation_config.json"), kMaxConfigBytes));
  LoadedModel model;
  KVP_ASSIGN_OR_RETURN(model.config, ReadHfConfig(config, generation));
  KVP_RETURN_IF_ERROR(model.config.Validate());
  if (model.config.name.empty()) {
    std::error_code error;
    model.config.name = std::filesystem::canonical(path, error).filename().string();
  }
  KVP_ASSIGN_OR_RETURN(const Json settings,
                       ReadOptionalJson(FileIn(path, "tokenizer_config.json"), kMaxTokenizerBytes));
  KVP_ASSIGN_OR_RETURN(const Json tokenizer,
                       ReadJsonFile(FileIn(path, "tokenizer.json"), kMaxTokenizerBytes));
  KVP_ASSIGN_OR_RETURN(model.tokenizer, ReadHfTokenizer(tokenizer, settings, model.config.vocab));
  if (model.tokenizer.bos_token < 0 && !model.tokenizer.add_bos &&
      model.config.bos_token < static_cast<int64_t>(model.tokenizer.tokens.size())) {
    model.tokenizer.bos_token = model.config.bos_token;
  }
  KVP_ASSIGN_OR_RETURN(model.chat_template, ReadChatTemplate(path, settings));
  KVP_RETURN_IF_ERROR(AddTensors(path, model));
  return model;
}

}  // namespace kvpareto
