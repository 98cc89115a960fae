// Weights of the CUDA backend: packed matrices, or a vector of floats.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/base/tensor.h"
#include "engine/cuda/device.h"
#include "engine/cuda/device_pool.h"
#include "engine/cuda/pack_matrix.h"
#include "engine/cuda/packed_matrix.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

class DeviceWeight : public Weight {
 public:
  // Errors: UNIMPLEMENTED (WEIGHT_SHAPE) for anything but matrices of equal cols, or vectors, of
  // whole blocks; RESOURCE_EXHAUSTED (DEVICE_MEMORY).
  static absl::StatusOr<std::unique_ptr<DeviceWeight>> Load(std::span<const TensorView> stacked,
                                                            Device& device, DevicePool& pool);
  // A matrix that is already packed in device memory, which the weight takes over.
  static std::unique_ptr<DeviceWeight> FromPacked(const PackedMatrix& matrix,
                                                  std::unique_ptr<DeviceMemory> memory);

  int rows() const override { return rows_; }
  int cols() const override { return cols_; }
  size_t resident_bytes() const override;

  bool is_vector() const { return matrices_.empty(); }
  const float* vector() const { return reinterpret_cast<const float*>(memory_[0].data); }
  // In row order: stacked tensors, joined where they are of one form.
  std::span<const PackedMatrix> matrices() const { return matrices_; }

 private:
  DeviceWeight() = default;
  absl::Status LoadVectors(std::span<const TensorView> stacked, Device& device, DevicePool& pool);
  absl::Status LoadMatrix(const HostMatrix& host, Device& device, DevicePool& pool);

  int rows_ = 0;
  int cols_ = 0;
  std::vector<PackedMatrix> matrices_;
  std::vector<DevicePiece> memory_;
};

}  // namespace kvpareto::cuda
