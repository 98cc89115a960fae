#include <immintrin.h>

#include "engine/cpu/linear_tiles.h"
#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

constexpr int kRowBytes = 64;

__mmask16 Mask(int count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// Tile registers: 0..3 sums [row tile][panel], 4 and 5 activations, 6 and 7 weights.
template <int kSum>
void ZeroSum() {
  if constexpr (kSum == 0) _tile_zero(0);
  if constexpr (kSum == 1) _tile_zero(1);
  if constexpr (kSum == 2) _tile_zero(2);
  if constexpr (kSum == 3) _tile_zero(3);
}

template <int kSum>
void LoadSum(const float* from, size_t stride_bytes) {
  OrderMemory();
  if constexpr (kSum == 0) _tile_loadd(0, from, stride_bytes);
  if constexpr (kSum == 1) _tile_loadd(1, from, stride_bytes);
  if constexpr (kSum == 2) _tile_loadd(2, from, stride_bytes);
  if constexpr (kSum == 3) _tile_loadd(3, from, stride_bytes);
}

template <int kSum>
void StoreSum(float* to, size_t stride_bytes) {
  if constexpr (kSum == 0) _tile_stored(0, to, stride_bytes);
  if constexpr (kSum == 1) _tile_stored(1, to, stride_bytes);
  if constexpr (kSum == 2) _tile_stored(2, to, stride_bytes);
  if constexpr (kSum == 3) _tile_stored(3, to, stride_bytes);
  OrderMemory();
}

struct Block {
  const TileTask* task;
  const TilePanel* panel;  // the first of the block
  int first_row;
};

// The part of the output that one sum tile covers.
struct SumTile {
  float* y;
  int rows;
  const TilePanel* panel;
};

SumTile SumTileOf(const Block& block, int row_tile, int panel) {
  const int first_row = block.first_row + row_tile * kTileRows;
  const TilePanel& p = block.panel[panel];
  const int left = block.task->rows - first_row;
  return {p.y + static_cast<size_t>(first_row) * block.task->y_stride,
          left < kTileRows ? left : kTileRows, &p};
}

bool Whole(const SumTile& sum) { return sum.rows == kTileRows && sum.panel->cols == 16; }

template <int kSum>
void Begin(const Block& block, int row_tile, int panel) {
  const SumTile sum = SumTileOf(block, row_tile, panel);
  const TileTask& task = *block.task;
  if (!task.accumulate && sum.panel->bias == nullptr) {
    ZeroSum<kSum>();
    return;
  }
  if (Whole(sum) && sum.panel->bias == nullptr) {
    LoadSum<kSum>(sum.y, task.y_stride * sizeof(float));
    return;
  }
  alignas(64) float start[kTileRows][16] = {};
  const __mmask16 mask = Mask(sum.panel->cols);
  const __m512 bias = sum.panel->bias == nullptr ? _mm512_setzero_ps()
                                                 : _mm512_maskz_loadu_ps(mask, sum.panel->bias);
  for (int r = 0; r < sum.rows; ++r) {
    const float* y = sum.y + static_cast<size_t>(r) * task.y_stride;
    const __m512 old = task.accumulate ? _mm512_maskz_loadu_ps(mask, y) : _mm512_setzero_ps();
    _mm512_store_ps(start[r], _mm512_add_ps(old, bias));
  }
  LoadSum<kSum>(start[0], kRowBytes);
}

template <int kSum>
void End(const Block& block, int row_tile, int panel) {
  const SumTile sum = SumTileOf(block, row_tile, panel);
  const TileTask& task = *block.task;
  if (Whole(sum)) {
    StoreSum<kSum>(sum.y, task.y_stride * sizeof(float));
    return;
  }
  alignas(64) float result[kTileRows][16];
  StoreSum<kSum>(result[0], kRowBytes);
  const __mmask16 mask = Mask(sum.panel->cols);
  for (int r = 0; r < sum.rows; ++r) {
    _mm512_mask_storeu_ps(sum.y + static_cast<size_t>(r) * task.y_stride, mask,
                          _mm512_load_ps(result[r]));
  }
}

template <int kRowTiles, int kPanels>
void MultiplyBlock(const Block& block) {
  const TileTask& task = *block.task;
  Begin<0>(block, 0, 0);
  if constexpr (kPanels == 2) Begin<1>(block, 0, 1);
  if constexpr (kRowTiles == 2) Begin<2>(block, 1, 0);
  if constexpr (kRowTiles == 2 && kPanels == 2) Begin<3>(block, 1, 1);
  const uint16_t* x0 = task.x + block.first_row / kTileRows * task.x_stride;
  const uint16_t* x1 = x0 + (kRowTiles == 2 ? task.x_stride : 0);
  const uint16_t* w0 = block.panel[0].weights;
  const uint16_t* w1 = block.panel[kPanels - 1].weights;
  for (int k = 0; k < task.k_tiles; ++k) {
    const size_t at = static_cast<size_t>(k) * kTileElements;
    _tile_loadd(4, x0 + at, kRowBytes);
    _tile_loadd(6, w0 + at, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, w1 + at, kRowBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kRowTiles == 2) {
      _tile_loadd(5, x1 + at, kRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kPanels == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  End<0>(block, 0, 0);
  if constexpr (kPanels == 2) End<1>(block, 0, 1);
  if constexpr (kRowTiles == 2) End<2>(block, 1, 0);
  if constexpr (kRowTiles == 2 && kPanels == 2) End<3>(block, 1, 1);
}

template <int kRowTiles>
void MultiplyPanels(const TileTask& task, int first_row) {
  int p = 0;
  for (; p + 2 <= task.num_panels; p += 2) {
    MultiplyBlock<kRowTiles, 2>({&task, task.panels + p, first_row});
  }
  if (p < task.num_panels) MultiplyBlock<kRowTiles, 1>({&task, task.panels + p, first_row});
}

void Multiply(const TileTask& task) {
  OrderMemory();
  const TileSession session;
  int row = 0;
  for (; task.rows - row > kTileRows; row += 2 * kTileRows) MultiplyPanels<2>(task, row);
  if (row < task.rows) MultiplyPanels<1>(task, row);
}

}  // namespace

const TileKernel kTilesAmx = {.multiply = Multiply, .panels = 2, .max_panels = 16, .max_tiles = 64};

}  // namespace kvpareto::cpu
