#include "engine/model/gguf_metadata.h"
#include "engine/model/loaded_model.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

bool EndsWithAny(std::string_view text, std::initializer_list<std::string_view> ends) {
  for (std::string_view end : ends) {
    if (text.ends_with(end)) return true;
  }
  return false;
}

// Tensors by name. Files of the llama architecture hold Q and K with interleaved RoPE pairs.
absl::StatusOr<TensorCatalog> Catalog(const GgufFile& file) {
  TensorCatalog tensors;
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;  // part of the configuration
    if (!tensors.emplace(tensor.name, tensor).second) {
      return CorruptFile("tensor " + Printable(tensor.name) + " occurs twice");
    }
  }
  return tensors;
}

void MarkInterleaved(int head_dim, TensorCatalog& tensors) {
  for (auto& [name, tensor] : tensors) {
    if (EndsWithAny(name, {".attn_q.weight", ".attn_k.weight", ".attn_q.bias", ".attn_k.bias"})) {
      tensor.interleaved_head_dim = head_dim;
    }
  }
}

absl::Status CheckWhole(const GgufFile& file) {
  KVP_ASSIGN_OR_RETURN(const auto splits, file.Int("split.count"));
  if (splits.value_or(1) <= 1) return absl::OkStatus();
  return UnsupportedModel("split.count", std::to_string(*splits));
}

}  // namespace

absl::StatusOr<LoadedModel> LoadGgufModel(const std::string& path) {
  LoadedModel model;
  absl::StatusOr<std::shared_ptr<const MappedFile>> mapped = MappedFile::Open(path);
  if (!mapped.ok()) return mapped.status();
  model.files.push_back(*mapped);
  KVP_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse((*mapped)->bytes()));
  KVP_RETURN_IF_ERROR(CheckWhole(file));
  KVP_ASSIGN_OR_RETURN(model.tensors, Catalog(file));
  KVP_ASSIGN_OR_RETURN(model.config, ReadGgufConfig(file, model.tensors));
  KVP_ASSIGN_OR_RETURN(const std::string architecture, GgufArchitecture(file));
  if (architecture == "llama") MarkInterleaved(model.config.head_dim, model.tensors);
  KVP_ASSIGN_OR_RETURN(model.tokenizer, ReadGgufTokenizer(file));
  KVP_ASSIGN_OR_RETURN(const auto chat_template, file.String("tokenizer.chat_template"));
  model.chat_template = std::string(chat_template.value_or(""));
  return model;
}

}  // namespace kvpareto
