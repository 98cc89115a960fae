// The CUDA backend's factory.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/ops/backend.h"

namespace kvpareto {

// On the first CUDA device. Activations are float (docs/decisions/0006-cuda-activations.md).
// Errors: FAILED_PRECONDITION (NO_CUDA_DEVICE), RESOURCE_EXHAUSTED (DEVICE_MEMORY), INTERNAL
// (DEVICE_LOST).
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend();

}  // namespace kvpareto
