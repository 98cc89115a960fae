#include "engine/cpu/decode_panel.h"

#include <cstring>

#include "engine/base/float16.h"

namespace kvpareto::cpu {
namespace {

float HalfAt(const uint8_t* plane, int group, int row) {
  uint16_t half;
  std::memcpy(&half, plane + 2 * (static_cast<size_t>(group) * kPanelRows + row), sizeof(half));
  return F16ToFloat(half);
}

uint8_t ByteAt(const uint8_t* plane, int group, int row) {
  return plane[static_cast<size_t>(group) * kPanelRows + row];
}

template <PackedFormat F>
int CodeAt(const PanelView& panel, int row, int col) {
  const int unit = col / kUnitCols, v = col % kUnitCols / 4, byte = 4 * row + col % 4;
  const uint8_t* low = panel.data + static_cast<size_t>(unit) * F.low_bytes();
  if constexpr (F.bits == 8) return low[64 * v + byte];
  const int nibble = (low[64 * (v % 4) + byte] >> (v / 4 * 4)) & 15;
  const uint8_t* high =
      panel.data + panel.layout->high + static_cast<size_t>(unit) * F.high_bytes();
  if constexpr (F.bits == 5) return nibble | (((high[byte] >> v) & 1) << 4);
  if constexpr (F.bits == 6) {
    return nibble | (((high[64 * (v / 4) + byte] >> (v % 4 * 2)) & 3) << 4);
  }
  return nibble;
}

struct ScaleAndMinimum {
  float scale = 0.0f;
  float minimum = 0.0f;
};

template <PackedFormat F>
ScaleAndMinimum ScaleAt(const PanelView& panel, int row, int col) {
  const PanelLayout& layout = *panel.layout;
  const int group = col / (F.has_super() ? kSuperCols : kUnitCols);
  ScaleAndMinimum result{.scale = HalfAt(panel.data + layout.scales, group, row)};
  if constexpr (F.has_minimum()) {
    result.minimum = HalfAt(panel.data + layout.minima, group, row);
  }
  if constexpr (F.scales == ScaleKind::kSuperMin) {
    const int unit = col / kUnitCols;
    result.scale *= static_cast<float>(ByteAt(panel.data + layout.sub_scales, unit, row));
    result.minimum *= -static_cast<float>(ByteAt(panel.data + layout.sub_minima, unit, row));
  } else if constexpr (F.scales == ScaleKind::kSuperSigned16) {
    const uint8_t byte = ByteAt(panel.data + layout.sub_scales, col / 16, row);
    result.scale *= static_cast<float>(static_cast<int8_t>(byte));
  }
  return result;
}

// One value: the definition. scale * code is exact in a float for every format, so fused and
// separate multiply-adds agree.
template <PackedFormat F>
float ValueAt(const PanelView& panel, int row, int col) {
  if constexpr (F.is_bf16()) {
    uint16_t value;
    const size_t index = (static_cast<size_t>(col / 2) * kPanelRows + row) * 2 + col % 2;
    std::memcpy(&value, panel.data + 2 * index, sizeof(value));
    return Bf16ToFloat(value);
  } else {
    const ScaleAndMinimum s = ScaleAt<F>(panel, row, col);
    const float product = s.scale * static_cast<float>(CodeAt<F>(panel, row, col) - F.offset());
    return F.has_minimum() ? product + s.minimum : product;
  }
}

}  // namespace

void DecodePanelRow(const PanelView& panel, int row, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() {
    for (int c = 0; c < panel.layout->cols; ++c) out[c] = ValueAt<F>(panel, row, c);
  });
}

void DecodePanelScalar(const PanelView& panel, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() {
    for (int c = 0; c < panel.layout->padded_cols; ++c) {
      for (int r = 0; r < kPanelRows; ++r) {
        out[static_cast<size_t>(c) * kPanelRows + r] = ValueAt<F>(panel, r, c);
      }
    }
  });
}

}  // namespace kvpareto::cpu
