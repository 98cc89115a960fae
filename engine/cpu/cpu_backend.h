// The CPU backend's factory.
#pragma once

#include <memory>
#include <string_view>

#include "engine/base/status.h"
#include "engine/ops/backend.h"

namespace kvpareto {

struct CpuBackendOptions {
  int threads = 0;  // 0: one per core this process may use
  // "auto" (the best this machine has) or a name that FindIsa knows. The environment variable
  // KVPARETO_CPU_ISA, when set, overrides "auto".
  std::string_view isa = "auto";
};

// Errors: INVALID_ARGUMENT (CPU_ISA_UNKNOWN), FAILED_PRECONDITION (CPU_ISA_UNAVAILABLE) when a
// named instruction set is not there.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuBackendOptions& options);

}  // namespace kvpareto
