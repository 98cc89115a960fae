// The files of a Hugging Face directory beside its weights.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/model/json.h"
#include "engine/model/model_source.h"

namespace kvpareto {

// Writes config.json, generation_config.json, tokenizer.json and tokenizer_config.json into
// `directory`, which exists, for weights of `source` in float16 quantized as `quantization` says.
// What `path` holds of these files, when it is a directory, is kept as it is but for that; other
// files of tokenizers are copied. Errors: INTERNAL (FILE_NOT_WRITABLE); UNIMPLEMENTED
// (ROPE_NOT_EXPRESSIBLE) for a GGUF file whose RoPE frequencies are neither plain nor linearly
// scaled; of reading the files.
absl::Status WriteHfFiles(const ModelSource& source, const std::string& path,
                          const Json& quantization, const std::string& directory);

}  // namespace kvpareto
