#include "engine/cpu/linear_decode.h"

#include <algorithm>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

// Rows quantized at a time; more rows read the weights again.
constexpr int kBlockRows = 64;
// Items of the pool's loop: small enough to balance, large enough to stream.
constexpr size_t kItemBytes = 24 << 10;

class DecodeRows : public RowKernel {
 public:
  explicit DecodeRows(ThreadPool* pool) : pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t units = (static_cast<size_t>(cols) + kUnitCols - 1) / kUnitCols;
    if (units <= units_) return;
    units_ = units;
    high_.Reserve(kBlockRows * units * kUnitCols);
    low_.Reserve(kBlockRows * units * kUnitCols);
    step_.Reserve(kBlockRows * units * sizeof(float));
    step_sum_.Reserve(kBlockRows * units * sizeof(float));
    sum_.Reserve(kBlockRows * units * 2 * sizeof(int32_t));
  }

  void Run(const LinearRows& rows) override {
    for (int first = 0; first < rows.rows; first += kBlockRows) {
      LinearRows block = rows;
      block.rows = std::min(kBlockRows, rows.rows - first);
      block.x += static_cast<size_t>(first) * rows.weight->cols();
      block.y += static_cast<size_t>(first) * rows.weight->rows();
      RunBlock(block);
    }
  }

  size_t scratch_bytes() const override {
    return high_.bytes() + low_.bytes() + step_.bytes() + step_sum_.bytes() + sum_.bytes();
  }

 private:
  void RunBlock(const LinearRows& rows) {
    const int cols = rows.weight->cols();
    const QuantizedRows quantized{.x = rows.x,
                                  .cols = cols,
                                  .units = (cols + kUnitCols - 1) / kUnitCols,
                                  .high = high_.as<int8_t>(),
                                  .low = low_.as<int8_t>(),
                                  .step = step_.as<float>(),
                                  .step_sum = step_sum_.as<float>(),
                                  .sum = sum_.as<int32_t>()};
    if (rows.rows < 8) {  // below this, waking other threads takes longer than the work
      for (int row = 0; row < rows.rows; ++row) QuantizeRowAvx512(quantized, row);
    } else {
      pool_.For(rows.rows, [&](int row, int) { QuantizeRowAvx512(quantized, row); });
    }
    const auto panels = rows.weight->panels();
    const int num_panels = static_cast<int>(panels.size());
    const int balanced = num_panels / (4 * pool_.threads());
    const int streaming = static_cast<int>(kItemBytes / panels[0].layout->bytes) + 1;
    const int panels_per_item = std::max(1, std::max(balanced, streaming));
    pool_.For((num_panels + panels_per_item - 1) / panels_per_item, [&](int item, int) {
      const int end = std::min(num_panels, (item + 1) * panels_per_item);
      for (int p = item * panels_per_item; p < end; ++p) RunPanel(panels[p], quantized, rows);
    });
  }

  static void RunPanel(const PanelView& panel, const QuantizedRows& quantized,
                       const LinearRows& rows) {
    float out[kDecodeRowsPerPass * kPanelRows];
    for (int first = 0; first < rows.rows; first += kDecodeRowsPerPass) {
      const int count = std::min(kDecodeRowsPerPass, rows.rows - first);
      DecodeRowsAvx512(panel, quantized, first, count, out);
      for (int r = 0; r < count; ++r) StoreOutputs(rows, panel, first + r, out + r * kPanelRows);
    }
  }

  ThreadPool& pool_;
  size_t units_ = 0;
  AlignedBuffer high_, low_, step_, step_sum_, sum_;  // of kBlockRows rows: QuantizedRows
};

}  // namespace

std::unique_ptr<RowKernel> CreateDecodeRows(ThreadPool* pool) {
  return std::make_unique<DecodeRows>(pool);
}

}  // namespace kvpareto::cpu
