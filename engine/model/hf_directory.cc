// A Hugging Face directory: config.json, generation_config.json, tokenizer.json,
// tokenizer_config.json, chat_template.jinja, and safetensors with or without an index, plain or
// quantized by AutoAWQ.
#include <filesystem>
#include <set>

#include "engine/model/awq_checkpoint.h"
#include "engine/model/hf_config.h"
#include "engine/model/hf_names.h"
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

// Buffers that old versions of transformers saved beside the weights.
bool IsDerived(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

// What a directory's configuration says of its tensors.
struct Reading {
  std::string directory;
  std::optional<AwqConfig> awq;
};

// Adds the tensors of one file: all, or those that `wanted` says it holds.
absl::Status AddFile(const Reading& reading, const std::string& file_name,
                     const std::set<std::string>* wanted, LoadedModel& model) {
  const std::string path = FileIn(reading.directory, file_name);
  KVP_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  absl::StatusOr<std::vector<TensorView>> tensors = ParseSafetensors(file->bytes());
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  size_t taken = 0;
  for (TensorView& tensor : *tensors) {
    if (wanted != nullptr && !wanted->contains(tensor.name)) continue;
    ++taken;
    if (IsDerived(tensor.name)) continue;
    if (reading.awq) KVP_RETURN_IF_ERROR(CheckConverted(*reading.awq, tensor.name));
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

absl::Status AddShards(const Reading& reading, const std::string& index_path, LoadedModel& model) {
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
    KVP_RETURN_IF_ERROR(AddFile(reading, file, &tensors, model));
  }
  return absl::OkStatus();
}

absl::Status AddTensors(const Reading& reading, LoadedModel& model) {
  const std::string single = "model.safetensors";
  const std::string index = FileIn(reading.directory, "model.safetensors.index.json");
  KVP_RETURN_IF_ERROR(Exists(FileIn(reading.directory, single)) || !Exists(index)
                          ? AddFile(reading, single, nullptr, model)
                          : AddShards(reading, index, model));
  if (reading.awq) KVP_RETURN_IF_ERROR(CombineAwqTensors(*reading.awq, model.tensors));
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
  Reading reading{.directory = path, .awq = {}};
  KVP_ASSIGN_OR_RETURN(reading.awq, ReadAwqConfig(config));
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
  KVP_RETURN_IF_ERROR(AddTensors(reading, model));
  return model;
}

}  // namespace kvpareto
