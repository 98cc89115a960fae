#include <algorithm>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/decode_panel.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

class ScalarRows : public RowKernel {
 public:
  explicit ScalarRows(ThreadPool* pool) : pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t padded = (static_cast<size_t>(cols) + kUnitCols - 1) / kUnitCols * kUnitCols;
    thread_floats_ = std::max(thread_floats_, padded * kPanelRows);
    scratch_.Reserve(thread_floats_ * sizeof(float) * pool_.threads());
  }

  void Run(const LinearRows& rows) override {
    const auto panels = rows.weight->panels();
    pool_.For(static_cast<int>(panels.size()), [&](int item, int thread) {
      float* decoded = scratch_.as<float>() + thread * thread_floats_;
      DecodePanelScalar(panels[item], decoded);
      for (int m = 0; m < rows.rows; ++m) MultiplyRow(rows, m, panels[item], decoded);
    });
  }

  size_t scratch_bytes() const override { return scratch_.bytes(); }

 private:
  // decoded: [cols, 16]
  static void MultiplyRow(const LinearRows& rows, int m, const PanelView& panel,
                          const float* decoded) {
    const int cols = rows.weight->cols();
    const float* x = rows.x + static_cast<size_t>(m) * cols;
    float sum[kPanelRows] = {};
    for (int c = 0; c < cols; ++c) {
      for (int r = 0; r < kPanelRows; ++r) sum[r] += x[c] * decoded[c * kPanelRows + r];
    }
    StoreOutputs(rows, panel, m, sum);
  }

  ThreadPool& pool_;
  AlignedBuffer scratch_;  // [threads, thread_floats_]
  size_t thread_floats_ = 0;
};

}  // namespace

std::unique_ptr<RowKernel> CreateScalarRows(ThreadPool* pool) {
  return std::make_unique<ScalarRows>(pool);
}

}  // namespace kvpareto::cpu
