// Weights of the CPU backend: compressed panels for matrices, floats for vectors.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"
#include "engine/cpu/host_memory.h"
#include "engine/cpu/packed_format.h"
#include "engine/cpu/thread_pool.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

class PackedWeight : public Weight {
 public:
  // Packs on all threads into memory of `regions`. Errors: UNIMPLEMENTED (WEIGHT_SHAPE) for
  // anything but matrices of equal cols, or vectors, of whole blocks; RESOURCE_EXHAUSTED
  // (HOST_MEMORY).
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Load(std::span<const TensorView> stacked,
                                                            ThreadPool& pool, HostRegions& regions);

  int rows() const override { return rows_; }
  int cols() const override { return cols_; }
  size_t resident_bytes() const override;

  bool is_vector() const { return !vector_.empty(); }
  const float* vector() const { return vector_.data(); }  // [cols]

  // The panels of all stacked tensors, in row order. Each tensor starts a panel of its own.
  std::span<const PanelView> panels() const { return panels_; }
  // The panel that holds `row`.
  const PanelView& PanelOf(int row) const;

 private:
  PackedWeight() = default;
  absl::Status LoadVectors(std::span<const TensorView> stacked);
  absl::Status LoadMatrices(std::span<const TensorView> stacked, ThreadPool& pool,
                            HostRegions& regions);

  int rows_ = 0;
  int cols_ = 0;
  std::vector<float> vector_;
  std::vector<std::unique_ptr<PanelLayout>> layouts_;  // one per stacked tensor
  std::vector<PanelView> panels_;
  std::shared_ptr<std::byte> data_;  // null for vectors
  size_t data_bytes_ = 0;
};

}  // namespace kvpareto::cpu
