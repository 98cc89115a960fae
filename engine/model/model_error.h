// The errors that model files end in; reasons as documented at OpenModel.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

// The bytes contradict the format. INVALID_ARGUMENT, MODEL_FILE_CORRUPT.
absl::Status CorruptFile(std::string_view message);
// The file ends before what it promises. INVALID_ARGUMENT, MODEL_FILE_TRUNCATED.
absl::Status TruncatedFile(std::string_view message);
// A well-formed file describes an impossible model. INVALID_ARGUMENT, MODEL_CONFIG_INVALID.
absl::Status InvalidModelConfig(std::string_view field, std::string_view message);
// UNIMPLEMENTED, MODEL_ARCHITECTURE_UNSUPPORTED: `field` has a value this engine cannot run.
absl::Status UnsupportedModel(std::string_view field, std::string_view value);
// UNIMPLEMENTED, TENSOR_TYPE_UNSUPPORTED.
absl::Status UnsupportedTensorType(std::string_view tensor, std::string_view type);
// UNIMPLEMENTED, QUANTIZATION_UNSUPPORTED: `field` of quantization_config has another value.
absl::Status UnsupportedQuantization(std::string_view field, std::string_view value);
// UNIMPLEMENTED, TOKENIZER_UNSUPPORTED: `part` of the tokenizer is of an unknown kind.
absl::Status UnsupportedTokenizer(std::string_view part, std::string_view value);

// `text` fit for a message: at most 80 bytes, control and non-ASCII bytes as '?'.
std::string Printable(std::string_view text);

}  // namespace kvpareto
