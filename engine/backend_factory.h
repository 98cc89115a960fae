// Creates the backend that an engine runs on: the one place that knows which backends were built.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/engine.h"
#include "engine/ops/backend.h"

namespace kvpareto {

struct CreatedBackend {
  std::unique_ptr<Backend> backend;
  std::string note;  // why it is not the device that "auto" prefers; empty: it is
};

// EngineOptions::device: "cpu"; "cuda"; "auto": CUDA where it was built and the machine has a
// device, otherwise the CPU. Errors: INVALID_ARGUMENT (DEVICE_UNKNOWN), FAILED_PRECONDITION
// (DEVICE_UNAVAILABLE: "cuda" was asked for and cannot be had), and those of the backends.
absl::StatusOr<CreatedBackend> CreateBackend(const EngineOptions& options);

}  // namespace kvpareto
