#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

PanelLayout MakePanelLayout(PackedFormat format, int cols) {
  PanelLayout layout{.format = format, .cols = cols};
  const int units = (cols + kUnitCols - 1) / kUnitCols;
  layout.padded_cols = units * kUnitCols;
  const int record_units = format.record_units();
  layout.bytes = format.is_bf16() ? sizeof(uint16_t) * kPanelRows * layout.padded_cols
                                  : static_cast<size_t>((units + record_units - 1) / record_units) *
                                        format.record_bytes();
  return layout;
}

}  // namespace kvpareto::cpu
