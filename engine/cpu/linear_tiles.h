// Prefill rows in bf16: tiles of 16 x 32 activations times 32 x 16 weights, f32 sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::cpu {

inline constexpr int kTileRows = 16;
inline constexpr int kTileCols = 32;           // of the reduced index: one unit of a panel
inline constexpr int kTileElements = 16 * 32;  // 1 KiB of bf16

// Rows [0, 16) of a tile row, rounded to bf16: tiles [k_tiles, 16, 32]. `x` has `rows` <= 16 rows
// of `cols`; what is missing becomes zero. Needs Isa::kAvx512Bf16.
void PackTileRow(const float* x, int rows, int cols, uint16_t* tiles);

// One panel's share of the output.
struct TilePanel {
  const uint16_t* weights = nullptr;  // [k_tiles, 16, 16, 2], of the task's part of the columns
  float* y = nullptr;                 // row 0 of the output, at the panel's first column
  const float* bias = nullptr;        // at the panel's first column, or null
  int cols = 0;                       // 1..16 that exist
};

struct TileTask {
  const uint16_t* x = nullptr;  // [(rows + 15) / 16] tile rows: [k_tiles, 16, 32]
  size_t x_stride = 0;          // elements from one tile row to the next
  int rows = 0;
  int k_tiles = 0;
  int y_stride = 0;
  bool accumulate = false;
  const TilePanel* panels = nullptr;
  int num_panels = 0;
};

// What an instruction set offers for tiles.
struct TileKernel {
  // All rows times all panels. Every sum starts from the bias and the old y and runs over the tiles
  // in order, whatever the other rows are.
  void (*multiply)(const TileTask& task);
  int panels;  // that it multiplies at once
  // Most panels (a multiple of `panels`, at most kMaxTilePanels) of most tiles whose decoded
  // weights it wants at a time: about half of a core's L2, the rest is for activations.
  int max_panels;
  int max_tiles;
};

inline constexpr int kMaxTilePanels = 16;

extern const TileKernel kTilesAvx512Bf16;
extern const TileKernel kTilesAmx;

}  // namespace kvpareto::cpu
