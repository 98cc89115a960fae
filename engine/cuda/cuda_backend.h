// The CUDA backend's factory.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/ops/backend.h"

namespace kvpareto {

struct CudaOptions {
  // Use what only Hopper has; without, the kernels of older devices run, which tests want.
  bool wgmma = true;
};

// On the first CUDA device. Activations are float (docs/decisions/0006-cuda-activations.md).
// Errors: FAILED_PRECONDITION (NO_CUDA_DEVICE), RESOURCE_EXHAUSTED (DEVICE_MEMORY), INTERNAL
// (DEVICE_LOST).
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options = {});

}  // namespace kvpareto
