#include "engine/cpu/linear_decode.h"

#include <algorithm>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

// Rows quantized at a time; more rows read the weights again.
constexpr int kBlockRows = 64;
// Items of the pool's loop: a thread reads a long run of panels, since every start of a stream
// costs the time of several of them; matrices that take long are cut into more items than threads,
// for balance.
constexpr size_t kItemBytes = 512 << 10;
constexpr size_t kMaxItemsPerThread = 4;
// Panels that a kernel is called with: tiles fill their pipeline once for all of them; a few rows,
// on vectors, are faster panel by panel.
constexpr int kMaxPanelsPerCall = 8;
constexpr int PanelsPerCall(int rows) { return rows < 4 ? 1 : kMaxPanelsPerCall; }

// What one instruction set offers.
struct DecodeKernels {
  decltype(&QuantizeRowAvx512) quantize;
  decltype(&DecodeRowsAvx512) multiply;
};

constexpr DecodeKernels kDecodeAvx2 = {QuantizeRowAvx2, DecodeRowsAvx2};
constexpr DecodeKernels kDecodeAvx512 = {QuantizeRowAvx512, DecodeRowsAvx512};
constexpr DecodeKernels kDecodeAmx = {QuantizeRowAvx512, DecodeRowsAmx};

const DecodeKernels& KernelsOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return kDecodeAvx2;
    case Isa::kAmx:
      return kDecodeAmx;
    default:
      return kDecodeAvx512;
  }
}

class DecodeRows : public RowKernel {
 public:
  DecodeRows(const DecodeKernels& kernels, ThreadPool* pool) : kernels_(kernels), pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t units = (static_cast<size_t>(cols) + kUnitCols - 1) / kUnitCols;
    if (units <= units_) return;
    units_ = units;
    integers_.Reserve(kBlockRows * units * kUnitCols * sizeof(int16_t));
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
    return integers_.bytes() + step_.bytes() + step_sum_.bytes() + sum_.bytes();
  }

 private:
  void RunBlock(const LinearRows& rows) {
    const int cols = rows.weight->cols();
    const QuantizedRows quantized{.x = rows.x,
                                  .cols = cols,
                                  .units = (cols + kUnitCols - 1) / kUnitCols,
                                  .rows_per_pass = std::min(rows.rows, kDecodeRowsPerPass),
                                  .bytes = integers_.as<int8_t>(),
                                  .whole = integers_.as<int16_t>(),
                                  .step = step_.as<float>(),
                                  .step_sum = step_sum_.as<float>(),
                                  .sum = sum_.as<int32_t>(),
                                  .prefetch = PrefetchStreams()};
    if (rows.rows < 8) {  // below this, waking other threads takes longer than the work
      for (int row = 0; row < rows.rows; ++row) kernels_.quantize(quantized, row);
    } else {
      pool_.For(rows.rows, [&](int row, int) { kernels_.quantize(quantized, row); });
    }
    const auto panels = rows.weight->panels();
    const int num_panels = static_cast<int>(panels.size());
    const size_t thread_bytes = num_panels * panels[0].layout->bytes / pool_.threads();
    const int items_per_thread =
        static_cast<int>(std::clamp<size_t>(thread_bytes / kItemBytes, 1, kMaxItemsPerThread));
    const int items = std::min(num_panels, items_per_thread * pool_.threads());
    const int panels_per_call = PanelsPerCall(rows.rows);
    const int panels_per_item = (num_panels + items - 1) / items;
    pool_.For((num_panels + panels_per_item - 1) / panels_per_item, [&](int item, int) {
      const int end = std::min(num_panels, (item + 1) * panels_per_item);
      for (int p = item * panels_per_item; p < end;) {
        const auto call = AlikePanels(panels.subspan(p, std::min(panels_per_call, end - p)));
        RunPanels(call, quantized, rows);
        p += static_cast<int>(call.size());
      }
    });
  }

  // The leading panels that have one format.
  static std::span<const PanelView> AlikePanels(std::span<const PanelView> panels) {
    size_t count = 1;
    while (count < panels.size() && panels[count].layout->format == panels[0].layout->format) {
      ++count;
    }
    return panels.first(count);
  }

  void RunPanels(std::span<const PanelView> panels, const QuantizedRows& quantized,
                 const LinearRows& rows) {
    alignas(64) float out[kMaxPanelsPerCall * kDecodeRowsPerPass * kPanelRows];
    for (int first = 0; first < rows.rows; first += kDecodeRowsPerPass) {
      const int count = std::min(kDecodeRowsPerPass, rows.rows - first);
      kernels_.multiply(panels, quantized, first, count, out);
      const float* sums = out;
      for (const PanelView& panel : panels) {
        for (int r = 0; r < count; ++r, sums += kPanelRows) {
          StoreOutputs(rows, panel, first + r, sums);
        }
      }
    }
  }

  const DecodeKernels& kernels_;
  ThreadPool& pool_;
  size_t units_ = 0;
  // Of kBlockRows rows: QuantizedRows. integers_ holds bytes, or whole.
  AlignedBuffer integers_, step_, step_sum_, sum_;
};

}  // namespace

std::unique_ptr<RowKernel> CreateDecodeRows(Isa isa, ThreadPool* pool) {
  return std::make_unique<DecodeRows>(KernelsOf(isa), pool);
}

}  // namespace kvpareto::cpu
