// The tensors of a model by canonical name, and what must hold of them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"
#include "engine/model/model_config.h"

namespace kvpareto {

using TensorCatalog = std::map<std::string, TensorView, std::less<>>;

// Bytes that shape and type ask for, without overflow: dimensions are positive, rows hold whole
// blocks. Errors: MODEL_FILE_CORRUPT.
absl::StatusOr<uint64_t> TensorBytes(const TensorView& tensor);

// No two tensors of one file share bytes. Errors: MODEL_FILE_CORRUPT naming both.
absl::Status CheckNoOverlap(std::span<const TensorView> tensors);

// Every tensor that the model needs is there in its right shape, and nothing else is: a tensor that
// the forward pass would ignore means a model that it does not understand. Errors:
// MODEL_CONFIG_INVALID (missing, wrong shape), MODEL_ARCHITECTURE_UNSUPPORTED (unknown tensor),
// TENSOR_TYPE_UNSUPPORTED (integers that no quantization explains).
absl::Status CheckTensors(const ModelConfig& config, const TensorCatalog& tensors);

// As documented at ModelSource::fingerprint.
std::string Fingerprint(const ModelConfig& config, const TensorCatalog& tensors);

}  // namespace kvpareto
