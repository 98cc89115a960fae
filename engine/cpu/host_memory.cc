#include "engine/cpu/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace kvpareto::cpu {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kRegionBytes = size_t{64} << 20;
constexpr size_t kCacheLineBytes = 64;

size_t AlignUp(size_t value, size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// Null when there is none. Aligned to a huge page from its size on.
std::byte* Map(size_t bytes) {
  const size_t slack = bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* mapped =
      ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const first = static_cast<std::byte*>(mapped);
  if (slack == 0) return first;
  const auto address = reinterpret_cast<uintptr_t>(first);
  const size_t before = AlignUp(address, kHugePageBytes) - address;
  if (before > 0) ::munmap(first, before);
  std::byte* const aligned = first + before;
  const size_t after = slack - before;
  if (after > 0) ::munmap(aligned + bytes, after);
  // Advice only: where it is refused, small pages serve as well.
  ::madvise(aligned, bytes, MADV_HUGEPAGE);
  return aligned;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostMemory>> HostMemory::Create(size_t bytes) {
  // Whole pages, so that what is unmapped around them begins at one.
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t rounded = AlignUp(std::max<size_t>(bytes, 1), page);
  std::byte* const data = Map(rounded);
  if (data == nullptr) {
    return MakeError(absl::StatusCode::kResourceExhausted, "HOST_MEMORY",
                     absl::StrCat("no host memory for ", bytes, " bytes"),
                     {{"bytes", std::to_string(bytes)}});
  }
  return std::unique_ptr<HostMemory>(new HostMemory(data, rounded));
}

HostMemory::~HostMemory() { ::munmap(data_, bytes_); }

absl::StatusOr<std::shared_ptr<std::byte>> HostRegions::Take(size_t bytes) {
  const size_t rounded = AlignUp(bytes, kCacheLineBytes);
  if (region_ == nullptr || region_->bytes() - used_ < rounded) {
    KVP_ASSIGN_OR_RETURN(region_, HostMemory::Create(std::max(rounded, kRegionBytes)));
    used_ = 0;
  }
  std::byte* const data = region_->data() + used_;
  used_ += rounded;
  return std::shared_ptr<std::byte>(region_, data);
}

}  // namespace kvpareto::cpu
