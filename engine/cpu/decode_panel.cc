#include "engine/cpu/decode_panel.h"

#include <cstring>

#include "engine/base/float16.h"

namespace kvpareto::cpu {
namespace {

float HalfAt(const uint8_t* vector, int row) {
  uint16_t half;
  std::memcpy(&half, vector + 2 * row, sizeof(half));
  return F16ToFloat(half);
}

template <PackedFormat F>
int CodeAt(const PanelView& panel, int row, int col) {
  const UnitOffsets at = OffsetsOf(F, col / kUnitCols);
  const int v = col % kUnitCols / 4, byte = 4 * row + col % 4;
  const uint8_t* low = panel.data + at.low;
  if constexpr (F.bits == 8) return low[64 * v + byte];
  const int nibble = (low[64 * (v % 4) + byte] >> (v / 4 * 4)) & 15;
  const uint8_t* high = panel.data + at.high;
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
  const UnitOffsets at = OffsetsOf(F, col / kUnitCols);
  ScaleAndMinimum result{.scale = HalfAt(panel.data + at.scale, row)};
  if constexpr (F.has_half_minimum()) result.minimum = HalfAt(panel.data + at.minimum, row);
  if constexpr (F.has_zero())
    result.minimum = -result.scale * static_cast<float>(panel.data[at.zero + row]);
  if constexpr (F.scales == ScaleKind::kSuperMin) {
    result.scale *= static_cast<float>(panel.data[at.sub_scale + row]);
    result.minimum *= -static_cast<float>(panel.data[at.sub_minimum + row]);
  } else if constexpr (F.scales == ScaleKind::kSuperSigned16) {
    const int half = col % kUnitCols / 16;
    const uint8_t byte = panel.data[at.sub_scale + half * kPanelRows + row];
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
