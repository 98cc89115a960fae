#include "engine/cpu/packed_weight.h"

#include <algorithm>
#include <array>

#include "engine/base/check.h"
#include "engine/cpu/pack_panel.h"
#include "engine/ops/dequantize.h"
#include "engine/ops/stacked_tensors.h"

namespace kvpareto::cpu {
namespace {

// Panels packed per item of the pool's loop.
constexpr int kPanelsPerItem = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Load(
    std::span<const TensorView> stacked, ThreadPool& pool, HostRegions& regions) {
  KVP_CHECK(!stacked.empty());
  const bool vector = stacked[0].shape.size() == 1;
  KVP_RETURN_IF_ERROR(CheckStackedTensors(stacked));
  std::unique_ptr<PackedWeight> weight(new PackedWeight);
  if (vector) {
    KVP_RETURN_IF_ERROR(weight->LoadVectors(stacked));
  } else {
    KVP_RETURN_IF_ERROR(weight->LoadMatrices(stacked, pool, regions));
  }
  return weight;
}

absl::Status PackedWeight::LoadVectors(std::span<const TensorView> stacked) {
  KVP_ASSIGN_OR_RETURN(vector_, JoinVectors(stacked));
  rows_ = 1;
  cols_ = static_cast<int>(vector_.size());
  return absl::OkStatus();
}

absl::Status PackedWeight::LoadMatrices(std::span<const TensorView> stacked, ThreadPool& pool,
                                        HostRegions& regions) {
  struct Source {
    const TensorView* tensor;
    int first_row;  // of the tensor
    size_t offset;  // of the panel in data_
  };
  std::vector<Source> sources;
  cols_ = static_cast<int>(stacked[0].cols());
  size_t bytes = 0;
  for (const TensorView& tensor : stacked) {
    layouts_.push_back(
        std::make_unique<PanelLayout>(MakePanelLayout(PackedFormatOf(tensor), cols_)));
    const int rows = static_cast<int>(tensor.rows());
    for (int row = 0; row < rows; row += kPanelRows) {
      panels_.push_back({.layout = layouts_.back().get(),
                         .first_row = rows_ + row,
                         .rows = std::min(kPanelRows, rows - row)});
      sources.push_back({&tensor, row, bytes});
      bytes += layouts_.back()->bytes;
    }
    rows_ += rows;
  }
  KVP_ASSIGN_OR_RETURN(data_, regions.Take(bytes));
  data_bytes_ = bytes;
  uint8_t* data = reinterpret_cast<uint8_t*>(data_.get());
  const int panels = static_cast<int>(panels_.size());
  pool.For((panels + kPanelsPerItem - 1) / kPanelsPerItem, [&](int item, int) {
    const int end = std::min(panels, (item + 1) * kPanelsPerItem);
    for (int p = item * kPanelsPerItem; p < end; ++p) {
      const Source& source = sources[p];
      uint8_t* panel = data + source.offset;
      panels_[p].data = panel;
      if (source.tensor->type == TensorType::kAwq4) {
        PackAwqPanel(*source.tensor, source.first_row, panels_[p].rows, *panels_[p].layout, panel);
        continue;
      }
      std::array<const std::byte*, kPanelRows> rows{};
      for (int r = 0; r < panels_[p].rows; ++r) {
        rows[r] = source.tensor->Row(source.first_row + r).data();
      }
      PackPanel(source.tensor->type, *panels_[p].layout, rows, panel);
    }
  });
  return absl::OkStatus();
}

size_t PackedWeight::resident_bytes() const {
  return data_bytes_ + vector_.capacity() * sizeof(float) + panels_.capacity() * sizeof(PanelView) +
         layouts_.size() * sizeof(PanelLayout);
}

const PanelView& PackedWeight::PanelOf(int row) const {
  KVP_CHECK(row >= 0 && row < rows_) << row << " of " << rows_;
  const auto after =
      std::upper_bound(panels_.begin(), panels_.end(), row,
                       [](int r, const PanelView& panel) { return r < panel.first_row; });
  return *(after - 1);
}

}  // namespace kvpareto::cpu
