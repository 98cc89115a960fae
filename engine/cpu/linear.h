// y = x W^T on the CPU: which kernel multiplies which rows.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/cpu/isa.h"
#include "engine/cpu/packed_weight.h"
#include "engine/cpu/thread_pool.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Rows of one kind (decode or prefill) of a Linear.
struct LinearRows {
  const float* x = nullptr;  // [rows, weight cols]
  float* y = nullptr;        // [rows, weight rows]
  int rows = 0;
  const PackedWeight* weight = nullptr;
  const float* bias = nullptr;  // [weight rows] or null
  bool accumulate = false;
};

// Multiplies rows with all panels of a weight, on all threads. The arithmetic of a row does not
// depend on the other rows.
class RowKernel {
 public:
  virtual ~RowKernel() = default;
  // Makes scratch ready for weights of up to `cols` columns; Run needs no more than that.
  virtual void Reserve(int cols) = 0;
  virtual void Run(const LinearRows& rows) = 0;
  virtual size_t scratch_bytes() const = 0;
};

// Plain loops over decoded panels: the definition.
std::unique_ptr<RowKernel> CreateScalarRows(ThreadPool* pool);
// Decode rows on AVX2 and AVX-512: linear_decode.h.
std::unique_ptr<RowKernel> CreateDecodeRows(Isa isa, ThreadPool* pool);
// Prefill rows on AVX2 and AVX-512, f32 throughout.
std::unique_ptr<RowKernel> CreateFloatRows(Isa isa, ThreadPool* pool);
// Prefill rows on AVX512-BF16 and AMX: activations and weights in bf16, sums in f32.
std::unique_ptr<RowKernel> CreateTileRows(Isa isa, ThreadPool* pool);

// y[row] = sums [16] of one panel, with bias and accumulation.
inline void StoreOutputs(const LinearRows& rows, const PanelView& panel, int row,
                         const float* __restrict sums) {
  float* __restrict y = rows.y + static_cast<size_t>(row) * rows.weight->rows() + panel.first_row;
  const float* __restrict bias = rows.bias == nullptr ? nullptr : rows.bias + panel.first_row;
  const bool accumulate = rows.accumulate;
  const auto store = [&](int count) __attribute__((always_inline)) {
    for (int r = 0; r < count; ++r) {
      const float value = bias == nullptr ? sums[r] : sums[r] + bias[r];
      y[r] = accumulate ? y[r] + value : value;
    }
  };
  // A constant count becomes vectors.
  if (panel.rows == kPanelRows) {
    store(kPanelRows);
  } else {
    store(panel.rows);
  }
}

class LinearKernel {
 public:
  LinearKernel(Isa isa, ThreadPool* pool);
  void Reserve(int cols);
  void Run(const LinearArgs& args);
  size_t scratch_bytes() const { return decode_->scratch_bytes() + prefill_->scratch_bytes(); }

 private:
  std::unique_ptr<RowKernel> decode_;
  std::unique_ptr<RowKernel> prefill_;
};

}  // namespace kvpareto::cpu
