#include "engine/cpu/linear_tiles.h"

#include <algorithm>
#include <span>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/decode_panel.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

// Activations rounded to bf16 at a time. More rows read the weights again, at 1/500 of the work.
constexpr size_t kInputBytes = 8 << 20;

int TilesOf(int cols) { return (cols + kTileCols - 1) / kTileCols; }

class TileRows : public RowKernel {
 public:
  TileRows(const TileKernel& kernel, ThreadPool* pool)
      : kernel_(kernel),
        decoded_elements_(size_t{1} * kernel.max_panels * kernel.max_tiles * kTileElements),
        pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t tile_row_bytes = TilesOf(cols) * kTileElements * sizeof(uint16_t);
    decoded_.Reserve(decoded_elements_ * sizeof(uint16_t) * pool_.threads());
    input_.Reserve(std::max(kInputBytes, 2 * tile_row_bytes));
  }

  void Run(const LinearRows& rows) override {
    const size_t tile_row_bytes = TilesOf(rows.weight->cols()) * kTileElements * sizeof(uint16_t);
    const int block_rows = static_cast<int>(input_.bytes() / tile_row_bytes) / 2 * 2 * kTileRows;
    for (int first = 0; first < rows.rows; first += block_rows) {
      LinearRows block = rows;
      block.rows = std::min(block_rows, rows.rows - first);
      block.x += static_cast<size_t>(first) * rows.weight->cols();
      block.y += static_cast<size_t>(first) * rows.weight->rows();
      RunBlock(block);
    }
  }

  size_t scratch_bytes() const override { return decoded_.bytes() + input_.bytes(); }

 private:
  void RunBlock(const LinearRows& rows) {
    PackInput(rows);
    const int panels = static_cast<int>(rows.weight->panels().size());
    // Whole steps of the kernel, and enough items for all threads.
    const int step = kernel_.panels;
    const int per_item =
        std::clamp(panels / (3 * pool_.threads()) / step * step, step, kernel_.max_panels);
    pool_.For((panels + per_item - 1) / per_item, [&](int item, int thread) {
      const int first = item * per_item;
      RunPanels(rows, rows.weight->panels().subspan(first, std::min(per_item, panels - first)),
                thread);
    });
  }

  void PackInput(const LinearRows& rows) {
    const int cols = rows.weight->cols();
    const size_t tile_row = static_cast<size_t>(TilesOf(cols)) * kTileElements;
    pool_.For((rows.rows + kTileRows - 1) / kTileRows, [&](int item, int) {
      const int first = item * kTileRows;
      PackTileRow(rows.x + static_cast<size_t>(first) * cols,
                  std::min(kTileRows, rows.rows - first), cols,
                  input_.as<uint16_t>() + item * tile_row);
    });
  }

  void RunPanels(const LinearRows& rows, std::span<const PanelView> panels, int thread) {
    const int tiles = TilesOf(rows.weight->cols());
    // Wide matrices are cut along the columns, so that many panels fit and the activations are read
    // from L3 seldom.
    const int parts = (tiles + kernel_.max_tiles - 1) / kernel_.max_tiles;
    const int part_tiles = (tiles + parts - 1) / parts;
    uint16_t* decoded = decoded_.as<uint16_t>() + thread * decoded_elements_;
    for (int first = 0; first < tiles; first += part_tiles) {
      RunPart(rows, panels, {first, std::min(part_tiles, tiles - first)}, decoded);
    }
  }

  // A range of tiles along the columns.
  struct Part {
    int first_tile;
    int tiles;
  };
  void RunPart(const LinearRows& rows, std::span<const PanelView> panels, Part part,
               uint16_t* decoded) {
    TilePanel tile_panels[kMaxTilePanels];
    const size_t first_element = static_cast<size_t>(part.first_tile) * kTileElements;
    const float* bias = part.first_tile == 0 ? rows.bias : nullptr;
    for (size_t p = 0; p < panels.size(); ++p) {
      const PanelView& panel = panels[p];
      const uint16_t* weights = reinterpret_cast<const uint16_t*>(panel.data) + first_element;
      if (!panel.layout->format.is_bf16()) {
        DecodePanelBf16(panel, part.first_tile, part.tiles, decoded);
        weights = decoded;
        decoded += static_cast<size_t>(part.tiles) * kTileElements;
      }
      tile_panels[p] = {.weights = weights,
                        .y = rows.y + panel.first_row,
                        .bias = bias == nullptr ? nullptr : bias + panel.first_row,
                        .cols = panel.rows};
    }
    kernel_.multiply({.x = input_.as<uint16_t>() + first_element,
                      .x_stride = static_cast<size_t>(TilesOf(rows.weight->cols())) * kTileElements,
                      .rows = rows.rows,
                      .k_tiles = part.tiles,
                      .y_stride = rows.weight->rows(),
                      .accumulate = rows.accumulate || part.first_tile > 0,
                      .panels = tile_panels,
                      .num_panels = static_cast<int>(panels.size())});
  }

  const TileKernel& kernel_;
  const size_t decoded_elements_;  // of one thread
  ThreadPool& pool_;
  AlignedBuffer decoded_;  // [threads, decoded_elements_] bf16
  AlignedBuffer input_;    // [tile rows, k_tiles, 16, 32] bf16
};

}  // namespace

std::unique_ptr<RowKernel> CreateTileRows(Isa isa, ThreadPool* pool) {
  return std::make_unique<TileRows>(isa == Isa::kAmx ? kTilesAmx : kTilesAvx512Bf16, pool);
}

}  // namespace kvpareto::cpu
