#include "engine/cpu/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace kvpareto::cpu {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<HostMemory>> HostMemory::Create(size_t bytes) {
  const size_t mapped = std::max<size_t>(bytes, 1);
  void* data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return MakeError(absl::StatusCode::kResourceExhausted, "HOST_MEMORY",
                     absl::StrCat("no host memory for ", bytes, " bytes"),
                     {{"bytes", std::to_string(bytes)}});
  }
  // Advice only: where it is refused, small pages serve as well.
  if (mapped >= kHugePageBytes) ::madvise(data, mapped, MADV_HUGEPAGE);
  return std::unique_ptr<HostMemory>(new HostMemory(static_cast<std::byte*>(data), mapped));
}

HostMemory::~HostMemory() { ::munmap(data_, bytes_); }

}  // namespace kvpareto::cpu
