#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

constexpr size_t kMaxQuotedBytes = 80;

absl::Status Unsupported(std::string_view reason, std::string message, std::string_view what,
                         std::string_view value) {
  return MakeError(absl::StatusCode::kUnimplemented, reason, message,
                   {{"what", std::string(what)}, {"value", Printable(value)}});
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out(text.substr(0, kMaxQuotedBytes));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text.size() > kMaxQuotedBytes ? out + "..." : out;
}

absl::Status CorruptFile(std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL_FILE_CORRUPT", message);
}

absl::Status TruncatedFile(std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL_FILE_TRUNCATED", message);
}

absl::Status InvalidModelConfig(std::string_view field, std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL_CONFIG_INVALID",
                   std::string(field) + ": " + std::string(message),
                   {{"field", std::string(field)}});
}

absl::Status UnsupportedModel(std::string_view field, std::string_view value) {
  return Unsupported("MODEL_ARCHITECTURE_UNSUPPORTED",
                     std::string(field) + " \"" + Printable(value) + "\" is not supported", field,
                     value);
}

absl::Status UnsupportedTensorType(std::string_view tensor, std::string_view type) {
  return MakeError(
      absl::StatusCode::kUnimplemented, "TENSOR_TYPE_UNSUPPORTED",
      "tensor " + Printable(tensor) + ": type " + Printable(type) + " is not supported",
      {{"tensor", Printable(tensor)}, {"type", Printable(type)}});
}

absl::Status UnsupportedQuantization(std::string_view field, std::string_view value) {
  return Unsupported("QUANTIZATION_UNSUPPORTED",
                     "quantization_config: " + std::string(field) + " \"" + Printable(value) +
                         "\" is not supported",
                     field, value);
}

absl::Status UnsupportedTokenizer(std::string_view part, std::string_view value) {
  return Unsupported(
      "TOKENIZER_UNSUPPORTED",
      "tokenizer: " + std::string(part) + " \"" + Printable(value) + "\" is not supported", part,
      value);
}

}  // namespace kvpareto
