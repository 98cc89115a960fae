#include "engine/cpu/linear_tiles.h"
#include "engine/cpu/products_avx512bf16.h"

namespace kvpareto::cpu {
namespace {

static_assert(kStepDepth == kTileCols);

// 8 rows x 3 panels of sums: 11 loads for 24 products. A tile row is two such blocks.
constexpr int kBlockRows = 8;
constexpr int kBlockPanels = 3;
// Activations of wide matrices come from L3 and are asked for so many tiles ahead: the hardware
// does not foresee half tile rows. On Zen 4 that makes 4,864 columns a tenth faster.
constexpr int kTilesAhead = 6;
constexpr size_t kPairBytes = 64;  // a pair of columns of a panel's 16 rows

__mmask16 Mask(int count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// Rows [first_row, first_row + kBlockRows) of the task times some panels.
struct Block {
  const TileTask* task;
  const TilePanel* panels;
  int first_row;

  int rows() const {
    const int left = task->rows - first_row;
    return left < kBlockRows ? left : kBlockRows;
  }
  const uint16_t* x() const {
    return task->x + first_row / kTileRows * task->x_stride + first_row % kTileRows * kTileCols;
  }
  float* y(int row, int panel) const {
    return panels[panel].y + static_cast<size_t>(first_row + row) * task->y_stride;
  }
};

template <int kPanels>
void Begin(const Block& block, Sums<kBlockRows, kPanels>& sums) {
  const int rows = block.rows();
  for (int p = 0; p < kPanels; ++p) {
    const TilePanel& panel = block.panels[p];
    const __mmask16 mask = Mask(panel.cols);
    const __m512 bias =
        panel.bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, panel.bias);
    for (int r = 0; r < kBlockRows; ++r) {
      const bool old = block.task->accumulate && r < rows;
      sums[r][p] = old ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask, block.y(r, p)), bias) : bias;
    }
  }
}

template <int kPanels>
void End(const Block& block, const Sums<kBlockRows, kPanels>& sums) {
  const int rows = block.rows();
  for (int p = 0; p < kPanels; ++p) {
    const __mmask16 mask = Mask(block.panels[p].cols);
    for (int r = 0; r < kBlockRows; ++r) {
      if (r < rows) _mm512_mask_storeu_ps(block.y(r, p), mask, sums[r][p]);
    }
  }
}

template <int kPanels>
void MultiplyBlock(const Block& block) {
  Sums<kBlockRows, kPanels> sums;
  Begin<kPanels>(block, sums);
  const uint16_t* x = block.x();
  const std::byte* weights[kPanels];
  for (int p = 0; p < kPanels; ++p) {
    weights[p] = reinterpret_cast<const std::byte*>(block.panels[p].weights);
  }
  for (int k = 0; k < block.task->k_tiles; ++k, x += kTileElements) {
    for (int r = 0; r < kBlockRows; ++r) {
      _mm_prefetch(x + kTilesAhead * kTileElements + r * kTileCols, _MM_HINT_T0);
    }
    MultiplyStep<kBlockRows, kPanels>(x, weights, kPairBytes, sums);
    for (const std::byte*& w : weights) w += kTileElements * sizeof(uint16_t);
  }
  End<kPanels>(block, sums);
}

// Activations stay in L1 while the panels pass from L2.
void Multiply(const TileTask& task) {
  for (int row = 0; row < task.rows; row += kBlockRows) {
    const auto left = [&](int p) { return task.num_panels - p; };
    int p = 0;
    for (; left(p) >= kBlockPanels; p += kBlockPanels) {
      MultiplyBlock<kBlockPanels>({&task, task.panels + p, row});
    }
    if (left(p) == 2) MultiplyBlock<2>({&task, task.panels + p, row});
    if (left(p) == 1) MultiplyBlock<1>({&task, task.panels + p, row});
  }
}

}  // namespace

// Few panels: reading the activations again costs little beside the products, and small items keep
// all threads busy to the end.
const TileKernel kTilesAvx512Bf16 = {
    .multiply = Multiply, .panels = kBlockPanels, .max_panels = 2 * kBlockPanels, .max_tiles = 64};

}  // namespace kvpareto::cpu
