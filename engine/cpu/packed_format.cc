#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

PanelLayout MakePanelLayout(PackedFormat format, int cols) {
  PanelLayout layout{.format = format, .cols = cols};
  const int units = (cols + kUnitCols - 1) / kUnitCols;
  layout.padded_cols = units * kUnitCols;
  size_t end = 0;
  const auto plane = [&end](size_t bytes) {
    const size_t begin = end;
    end += bytes;
    return begin;
  };
  if (format.is_bf16()) {
    plane(sizeof(uint16_t) * kPanelRows * layout.padded_cols);
  } else {
    plane(static_cast<size_t>(format.low_bytes()) * units);
    layout.high = plane(static_cast<size_t>(format.high_bytes()) * units);
    const int groups = format.has_super() ? cols / kSuperCols : units;
    layout.scales = plane(sizeof(uint16_t) * kPanelRows * groups);
    if (format.has_minimum()) layout.minima = plane(sizeof(uint16_t) * kPanelRows * groups);
    if (format.scales == ScaleKind::kSuperMin) {
      layout.sub_scales = plane(static_cast<size_t>(kPanelRows) * units);
      layout.sub_minima = plane(static_cast<size_t>(kPanelRows) * units);
    } else if (format.scales == ScaleKind::kSuperSigned16) {
      layout.sub_scales = plane(static_cast<size_t>(kPanelRows) * units * 2);
    }
  }
  layout.bytes = (end + 63) / 64 * 64;
  return layout;
}

}  // namespace kvpareto::cpu
