// A GGUF file's metadata as configuration and tokenizer.
#pragma once

#include "engine/model/gguf.h"
#include "engine/model/loaded_model.h"

namespace kvpareto {

// Fills what the metadata and the tensors' presence say. Not yet validated as a whole.
absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file, const TensorCatalog& tensors);
absl::StatusOr<TokenizerSpec> ReadGgufTokenizer(const GgufFile& file);

// The architecture's prefix in metadata keys ("llama", "qwen2", "qwen3"), or UNIMPLEMENTED.
absl::StatusOr<std::string> GgufArchitecture(const GgufFile& file);

}  // namespace kvpareto
