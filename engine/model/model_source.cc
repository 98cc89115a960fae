#include "engine/model/model_source.h"

#include <filesystem>
#include <optional>

#include "engine/model/loaded_model.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

class FileModel final : public ModelSource {
 public:
  explicit FileModel(LoadedModel model)
      : model_(std::move(model)), fingerprint_(Fingerprint(model_.config, model_.tensors)) {
    for (const auto& file : model_.files) file_bytes_ += file->bytes().size();
  }

  const ModelConfig& config() const override { return model_.config; }
  const TokenizerSpec& tokenizer() const override { return model_.tokenizer; }
  const std::string& chat_template() const override { return model_.chat_template; }
  bool Has(std::string_view name) const override { return model_.tensors.contains(name); }
  size_t file_bytes() const override { return file_bytes_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  absl::StatusOr<TensorView> Tensor(std::string_view name) const override {
    const auto found = model_.tensors.find(name);
    if (found != model_.tensors.end()) return found->second;
    return MakeError(absl::StatusCode::kNotFound, "TENSOR_NOT_FOUND",
                     "the model has no tensor " + Printable(name), {{"tensor", Printable(name)}});
  }

  absl::Status Check() const override {
    for (const auto& file : model_.files) KVP_RETURN_IF_ERROR(file->Check());
    return absl::OkStatus();
  }

  void DropPages() const override {
    for (const auto& file : model_.files) file->DropPages(0, file->bytes().size());
  }

 private:
  LoadedModel model_;
  std::string fingerprint_;
  size_t file_bytes_ = 0;
};

absl::Status CheckTokenizer(const ModelConfig& config, const TokenizerSpec& tokenizer) {
  if (tokenizer.tokens.size() > static_cast<size_t>(config.vocab)) {
    return InvalidModelConfig("tokenizer", "has " + std::to_string(tokenizer.tokens.size()) +
                                               " tokens, the embedding only " +
                                               std::to_string(config.vocab));
  }
  const int32_t bound = static_cast<int32_t>(tokenizer.tokens.size());
  for (const auto& [field, token] :
       {std::pair("bos_token", tokenizer.bos_token), {"unknown_token", tokenizer.unknown_token}}) {
    if (token < -1 || token >= bound) {
      return InvalidModelConfig(field, std::to_string(token) + " is no token");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedModel> Load(const std::string& path) {
  std::error_code error;
  const bool directory = std::filesystem::is_directory(path, error);
  KVP_ASSIGN_OR_RETURN(LoadedModel model, directory ? LoadHfDirectory(path) : LoadGgufModel(path));
  KVP_RETURN_IF_ERROR(model.config.Validate());
  KVP_RETURN_IF_ERROR(CheckTensors(model.config, model.tensors));
  KVP_RETURN_IF_ERROR(CheckTokenizer(model.config, model.tokenizer));
  // A window that no context exceeds is full attention.
  if (model.config.sliding_window >= model.config.context_tokens) model.config.sliding_window = 0;
  return model;
}

// A file's error in a model's terms, with the path in its message.
absl::Status AsModelError(const absl::Status& status, const std::string& path) {
  const std::string message(status.message());
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  if (info.has_value() && info->reason == "FILE_EMPTY") return TruncatedFile(message);
  if (info.has_value() && info->reason == "FILE_TOO_LARGE") return CorruptFile(message);
  return message.find(path) == message.npos ? Annotate(status, path) : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path) {
  absl::StatusOr<LoadedModel> model = Load(path);
  if (!model.ok()) return AsModelError(model.status(), path);
  auto source = std::make_unique<FileModel>(*std::move(model));
  KVP_RETURN_IF_ERROR(source->Check());
  return source;
}

}  // namespace kvpareto
