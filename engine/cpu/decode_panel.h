// Panels back to numbers. The scalar functions define the values (bit for bit those of
// DequantizeRow; f32 and f16 matrices rounded to bf16), the others are tested against them.
#pragma once

#include <cstdint>

#include "engine/cpu/packed_format.h"

namespace kvpareto::cpu {

// Row `row` < 16 of the panel: out [cols].
void DecodePanelRow(const PanelView& panel, int row, float* out);

// The whole panel: out [padded_cols, 16].
void DecodePanelScalar(const PanelView& panel, float* out);
void DecodePanelAvx2(const PanelView& panel, float* out);
void DecodePanelAvx512(const PanelView& panel, float* out);

// Units [first_unit, first_unit + units) rounded to bf16 in the order of bf16 panels, which is that
// of a B operand of bf16 products: out [units, 16, 16, 2]. Needs Isa::kAvx512Bf16.
void DecodePanelBf16(const PanelView& panel, int first_unit, int units, uint16_t* out);

}  // namespace kvpareto::cpu
