#include "engine/cpu/linear_float.h"

#include <algorithm>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/decode_panel.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

// What one instruction set offers.
struct FloatKernels {
  decltype(&DecodePanelAvx512) decode_panel;
  decltype(&MultiplyFloatAvx512) multiply;
};

constexpr FloatKernels kFloatAvx2 = {DecodePanelAvx2, MultiplyFloatAvx2};
constexpr FloatKernels kFloatAvx512 = {DecodePanelAvx512, MultiplyFloatAvx512};

class FloatRows : public RowKernel {
 public:
  FloatRows(const FloatKernels& kernels, ThreadPool* pool) : kernels_(kernels), pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t padded = (static_cast<size_t>(cols) + kUnitCols - 1) / kUnitCols * kUnitCols;
    panel_floats_ = std::max(panel_floats_, padded * kPanelRows);
    scratch_.Reserve(2 * panel_floats_ * sizeof(float) * pool_.threads());
  }

  void Run(const LinearRows& rows) override {
    const int panels = static_cast<int>(rows.weight->panels().size());
    pool_.For((panels + 1) / 2, [&](int item, int thread) {
      float* decoded = scratch_.as<float>() + 2 * thread * panel_floats_;
      const int first = 2 * item;
      RunPanels(rows, rows.weight->panels().subspan(first, std::min(2, panels - first)), decoded);
    });
  }

  size_t scratch_bytes() const override { return scratch_.bytes(); }

 private:
  // One or two panels.
  void RunPanels(const LinearRows& rows, std::span<const PanelView> panels, float* decoded) {
    const int count = static_cast<int>(panels.size()), cols = rows.weight->cols();
    for (int p = 0; p < count; ++p) kernels_.decode_panel(panels[p], decoded + p * panel_floats_);
    float out[kFloatRowsPerPass * 2 * kPanelRows];
    for (int first = 0; first < rows.rows; first += kFloatRowsPerPass) {
      const int pass = std::min(kFloatRowsPerPass, rows.rows - first);
      kernels_.multiply(decoded, panel_floats_, count, rows.x + static_cast<size_t>(first) * cols,
                        cols, pass, out);
      for (int r = 0; r < pass; ++r) {
        for (int p = 0; p < count; ++p) {
          StoreOutputs(rows, panels[p], first + r, out + (r * count + p) * kPanelRows);
        }
      }
    }
  }

  const FloatKernels& kernels_;
  ThreadPool& pool_;
  size_t panel_floats_ = 0;
  AlignedBuffer scratch_;  // [threads, 2, panel_floats_]
};

}  // namespace

std::unique_ptr<RowKernel> CreateFloatRows(Isa isa, ThreadPool* pool) {
  return std::make_unique<FloatRows>(isa == Isa::kAvx2 ? kFloatAvx2 : kFloatAvx512, pool);
}

}  // namespace kvpareto::cpu
