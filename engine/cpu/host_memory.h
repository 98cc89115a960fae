// Large blocks of host memory.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/base/status.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Page-aligned anonymous memory, in huge pages where the system gives them. Zero at first; pages
// count as resident once touched.
class HostMemory : public DeviceBuffer {
 public:
  // Errors: RESOURCE_EXHAUSTED (HOST_MEMORY).
  static absl::StatusOr<std::unique_ptr<HostMemory>> Create(size_t bytes);
  ~HostMemory() override;
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  std::byte* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  HostMemory(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* const data_;
  const size_t bytes_;
};

}  // namespace kvpareto::cpu
