// The safetensors container. Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"

namespace kvpareto {

// The tensors of one file, views into `bytes`. Header length, offsets, shapes and sizes are checked
// against each other. `metadata`, when wanted, receives the header's free text. Errors:
// INVALID_ARGUMENT (MODEL_FILE_CORRUPT, MODEL_FILE_TRUNCATED), UNIMPLEMENTED
// (TENSOR_TYPE_UNSUPPORTED).
absl::StatusOr<std::vector<TensorView>> ParseSafetensors(
    std::span<const std::byte> bytes, std::map<std::string, std::string>* metadata = nullptr);

}  // namespace kvpareto
