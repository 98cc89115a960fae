#include "engine/cuda/device_pool.h"

#include "engine/base/status.h"

namespace kvpareto::cuda {
namespace {

constexpr size_t kAlignment = 256;
// What cudaMalloc takes of the device for larger allocations is a multiple of it. Smaller ones the
// driver puts together as it likes.
constexpr size_t kPage = size_t{2} << 20;
constexpr size_t kShared = 8 * kPage;
// Larger ones are allocations of their own.
constexpr size_t kLargestOfShared = 2 * kPage;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

absl::StatusOr<DevicePiece> DevicePool::Take(size_t bytes) {
  DevicePiece piece;
  if (bytes > kLargestOfShared) {
    KVP_ASSIGN_OR_RETURN(piece.memory, DeviceMemory::Create(RoundUp(bytes, kPage)));
    piece.data = piece.memory->data();
    piece.resident_bytes = piece.memory->bytes();
    return piece;
  }
  if (shared_ == nullptr || used_ + bytes > shared_->bytes()) {
    KVP_ASSIGN_OR_RETURN(shared_, DeviceMemory::Create(kShared));
    used_ = 0;
    piece.resident_bytes = kShared;
  }
  piece.memory = shared_;
  piece.data = shared_->data() + used_;
  used_ += RoundUp(bytes, kAlignment);
  return piece;
}

}  // namespace kvpareto::cuda
