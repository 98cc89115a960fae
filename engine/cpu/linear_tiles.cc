#include "engine/cpu/linear_tiles.h"

#include <algorithm>
#include <vector>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/decode_panel.h"
#include "engine/cpu/linear.h"

namespace kvpareto::cpu {
namespace {

// Activations rounded to bf16 at a time. More rows read the weights again, at 1/500 of the work.
constexpr size_t kInputBytes = 8 << 20;
// Decoded weights per thread: half of a core's L2, the rest is for activations.
constexpr size_t kDecodedBytes = 1 << 20;
constexpr int kMaxPanels = 32;

int TilesOf(int cols) { return (cols + kTileCols - 1) / kTileCols; }

class TileRows : public RowKernel {
 public:
  explicit TileRows(ThreadPool* pool) : pool_(*pool) {}

  void Reserve(int cols) override {
    const size_t panel_bytes = TilesOf(cols) * kTileElements * sizeof(uint16_t);
    // At least a pair of panels and a pair of tile rows.
    thread_bytes_ = std::max({thread_bytes_, kDecodedBytes, 2 * panel_bytes});
    decoded_.Reserve(thread_bytes_ * pool_.threads());
    input_.Reserve(std::max(kInputBytes, 2 * panel_bytes));
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
    const int per_item = PanelsPerItem(rows.weight->cols(), panels);
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
      PackTileRowAmx(rows.x + static_cast<size_t>(first) * cols,
                     std::min(kTileRows, rows.rows - first), cols,
                     input_.as<uint16_t>() + item * tile_row);
    });
  }

  // Pairs of panels that fit the decoded scratch, but enough items for all threads.
  int PanelsPerItem(int cols, int panels) const {
    const size_t panel_bytes = TilesOf(cols) * kTileElements * sizeof(uint16_t);
    const int fitting = static_cast<int>(thread_bytes_ / panel_bytes);
    const int balanced = panels / (3 * pool_.threads());
    return std::max(2, std::min({fitting, balanced, kMaxPanels}) / 2 * 2);
  }

  void RunPanels(const LinearRows& rows, std::span<const PanelView> panels, int thread) {
    const int k_tiles = TilesOf(rows.weight->cols());
    auto* decoded = reinterpret_cast<uint16_t*>(decoded_.data() + thread * thread_bytes_);
    TilePanel tile_panels[kMaxPanels];
    for (size_t p = 0; p < panels.size(); ++p) {
      const PanelView& panel = panels[p];
      const uint16_t* weights = reinterpret_cast<const uint16_t*>(panel.data);
      if (!panel.layout->format.is_bf16()) {
        DecodePanelAmx(panel, decoded);
        weights = decoded;
        decoded += static_cast<size_t>(k_tiles) * kTileElements;
      }
      tile_panels[p] = {.weights = weights,
                        .y = rows.y + panel.first_row,
                        .bias = rows.bias == nullptr ? nullptr : rows.bias + panel.first_row,
                        .cols = panel.rows};
    }
    MultiplyTilesAmx({.x = input_.as<uint16_t>(),
                      .rows = rows.rows,
                      .k_tiles = k_tiles,
                      .y_stride = rows.weight->rows(),
                      .accumulate = rows.accumulate,
                      .panels = tile_panels,
                      .num_panels = static_cast<int>(panels.size())});
  }

  ThreadPool& pool_;
  size_t thread_bytes_ = 0;
  AlignedBuffer decoded_;  // [threads, thread_bytes_]
  AlignedBuffer input_;    // [tile rows, k_tiles, 16, 32] bf16
};

}  // namespace

std::unique_ptr<RowKernel> CreateTileRows(ThreadPool* pool) {
  return std::make_unique<TileRows>(pool);
}

}  // namespace kvpareto::cpu
