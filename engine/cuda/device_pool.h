// Memory of weights, many of which are smaller than the pages that a device gives.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/cuda/device.h"

namespace kvpareto::cuda {

// A part of an allocation, which lives as long as any of its parts.
struct DevicePiece {
  std::shared_ptr<DeviceMemory> memory;
  std::byte* data = nullptr;
  size_t resident_bytes = 0;  // what it made the device give: all of an allocation, or nothing
};

class DevicePool {
 public:
  // Starts at a multiple of 256 bytes. Errors: RESOURCE_EXHAUSTED (DEVICE_MEMORY).
  absl::StatusOr<DevicePiece> Take(size_t bytes);

 private:
  std::shared_ptr<DeviceMemory> shared_;
  size_t used_ = 0;  // of it
};

}  // namespace kvpareto::cuda
