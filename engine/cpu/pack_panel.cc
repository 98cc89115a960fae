#include "engine/cpu/pack_panel.h"

#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/ops/awq_rows.h"

namespace kvpareto::cpu {
namespace {

uint32_t Load32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

uint8_t ByteAt(const std::byte* from, int index) { return static_cast<uint8_t>(from[index]); }

// Writes one row's share of a panel.
class RowWriter {
 public:
  RowWriter(const PackedFormat& format, int row, uint8_t* panel)
      : format_(format), row_(row), panel_(panel) {}

  // The lane of vector `v` of the unit's low plane, of vector `u` of its high one.
  void Low(int unit, int v, uint32_t lane) { Lane(OffsetsOf(format_, unit).low + 64 * v, lane); }
  void High(int unit, int u, uint32_t lane) { Lane(OffsetsOf(format_, unit).high + 64 * u, lane); }
  void Scale(int unit, const void* half) { Half(OffsetsOf(format_, unit).scale, half); }
  void Minimum(int unit, const std::byte* half) { Half(OffsetsOf(format_, unit).minimum, half); }
  void Zero(int unit, uint8_t value) { Byte(OffsetsOf(format_, unit).zero, value); }
  void SubScale(int unit, uint8_t value) { Byte(OffsetsOf(format_, unit).sub_scale, value); }
  void SubMinimum(int unit, uint8_t value) { Byte(OffsetsOf(format_, unit).sub_minimum, value); }
  // Of half `h` of the unit (kSuperSigned16).
  void HalfSubScale(int unit, int h, uint8_t value) {
    Byte(OffsetsOf(format_, unit).sub_scale + h * kPanelRows, value);
  }

 private:
  void Lane(size_t vector, uint32_t lane) {
    std::memcpy(panel_ + vector + 4 * row_, &lane, sizeof(lane));
  }
  void Half(size_t vector, const void* half) { std::memcpy(panel_ + vector + 2 * row_, half, 2); }
  void Byte(size_t vector, uint8_t value) { panel_[vector + row_] = value; }

  const PackedFormat format_;
  const int row_;
  uint8_t* panel_;
};

// Bit 4v + j of `mask` to bit 8j + v: from "one bit per column" to the high plane's order.
constexpr uint32_t SpreadFifthBits(uint32_t mask) {
  // Two outer unshuffles: each moves the lowest bit of a bit's index to the top of it.
  for (int i = 0; i < 2; ++i) {
    for (const auto& [shift, select] : {std::pair<int, uint32_t>{1, 0x22222222u},
                                        {2, 0x0c0c0c0cu},
                                        {4, 0x00f000f0u},
                                        {8, 0x0000ff00u}}) {
      const uint32_t swap = (mask ^ (mask >> shift)) & select;
      mask ^= swap ^ (swap << shift);
    }
  }
  return mask;
}
static_assert(SpreadFifthBits(1u << (4 * 5 + 3)) == 1u << (8 * 3 + 5));
static_assert(SpreadFifthBits(1u << (4 * 2 + 1)) == 1u << (8 * 1 + 2));

// Q4_0, Q4_1, Q5_0, Q5_1: [scale][minimum?][fifth bits?][16 nibble bytes].
void PackBlocks32(const PackedFormat& format, const std::byte* block, int units, RowWriter& out) {
  for (int unit = 0; unit < units; ++unit) {
    out.Scale(unit, block);
    block += 2;
    if (format.has_half_minimum()) {
      out.Minimum(unit, block);
      block += 2;
    }
    if (format.bits == 5) {
      out.High(unit, 0, SpreadFifthBits(Load32(block)));
      block += 4;
    }
    for (int v = 0; v < 4; ++v) out.Low(unit, v, Load32(block + 4 * v));
    block += 16;
  }
}

void PackQ8(const std::byte* block, int units, RowWriter& out) {
  for (int unit = 0; unit < units; ++unit, block += 34) {
    out.Scale(unit, block);
    for (int v = 0; v < 8; ++v) out.Low(unit, v, Load32(block + 2 + 4 * v) ^ 0x80808080u);
  }
}

// The nibbles selected by `shift` (0 or 4) of 32 bytes, which stand for 32 consecutive columns.
void PackNibbles(const std::byte* bytes, int shift, int unit, RowWriter& out) {
  constexpr uint32_t kLow = 0x0f0f0f0fu;
  for (int v = 0; v < 4; ++v) {
    const uint32_t first = (Load32(bytes + 4 * v) >> shift) & kLow;
    const uint32_t second = (Load32(bytes + 16 + 4 * v) >> shift) & kLow;
    out.Low(unit, v, first | (second << 4));
  }
}

// Q4_K and Q5_K: [scale][scale of minima][12 bytes of 6-bit scales][32 fifth-bit bytes?][128].
void PackSuperMin(const PackedFormat& format, const std::byte* block, int supers, RowWriter& out) {
  for (int super = 0; super < supers; ++super) {
    out.Scale(8 * super, block);
    out.Minimum(8 * super, block + 2);
    const std::byte* packed = block + 4;
    const std::byte* fifth = block + 16;
    const std::byte* nibbles = fifth + (format.bits == 5 ? 32 : 0);
    for (int j = 0; j < 8; ++j) {
      const int unit = super * 8 + j;
      if (j < 4) {
        out.SubScale(unit, ByteAt(packed, j) & 63);
        out.SubMinimum(unit, ByteAt(packed, j + 4) & 63);
      } else {
        const uint8_t low = ByteAt(packed, j + 4);
        out.SubScale(unit, (low & 15) | ((ByteAt(packed, j - 4) >> 6) << 4));
        out.SubMinimum(unit, (low >> 4) | ((ByteAt(packed, j) >> 6) << 4));
      }
      PackNibbles(nibbles + j / 2 * 32, j % 2 * 4, unit, out);
      if (format.bits == 5) {
        uint32_t lane = 0;
        for (int v = 0; v < 8; ++v) {
          lane |= ((Load32(fifth + 4 * v) >> j) & 0x01010101u) << v;
        }
        out.High(unit, 0, lane);
      }
    }
    block = nibbles + 128;
  }
}

// Q6_K: [128 bytes of low nibbles][64 bytes of upper bit pairs][16 signed scales][scale].
void PackQ6K(const std::byte* block, int supers, RowWriter& out) {
  for (int super = 0; super < supers; ++super, block += 210) {
    out.Scale(8 * super, block + 208);
    for (int g = 0; g < 16; ++g) {
      out.HalfSubScale(8 * super + g / 2, g % 2, ByteAt(block, 192 + g));
    }
    for (int j = 0; j < 8; ++j) {
      const int unit = super * 8 + j, half = j / 4, quarter = j % 4;
      PackNibbles(block + half * 64 + quarter % 2 * 32, quarter / 2 * 4, unit, out);
      const std::byte* high = block + 128 + half * 32;
      for (int u = 0; u < 2; ++u) {
        uint32_t lane = 0;
        for (int f = 0; f < 4; ++f) {
          const uint32_t pairs = Load32(high + 16 * u + 4 * f) >> (2 * quarter);
          lane |= (pairs & 0x03030303u) << (2 * f);
        }
        out.High(unit, u, lane);
      }
    }
  }
}

// [padded_cols / 2, 16, 2] bf16 from one row of f32, f16 or bf16.
void PackBf16(TensorType type, const std::byte* from, int cols, int row, uint8_t* panel) {
  for (int c = 0; c < cols; ++c) {
    uint16_t value;
    if (type == TensorType::kF32) {
      float f;
      std::memcpy(&f, from + 4 * static_cast<size_t>(c), sizeof(f));
      value = FloatToBf16(f);
    } else {
      std::memcpy(&value, from + 2 * static_cast<size_t>(c), sizeof(value));
      if (type == TensorType::kF16) value = FloatToBf16(F16ToFloat(value));
    }
    const size_t index = (static_cast<size_t>(c / 2) * kPanelRows + row) * 2 + c % 2;
    std::memcpy(panel + 2 * index, &value, sizeof(value));
  }
}

}  // namespace

PackedFormat PackedFormatOf(const TensorView& tensor) {
  switch (tensor.type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBf16:
      return kPackedBf16;
    case TensorType::kQ4_0:
      return {4, ScaleKind::kHalf};
    case TensorType::kQ4_1:
      return {4, ScaleKind::kHalfMin};
    case TensorType::kQ5_0:
      return {5, ScaleKind::kHalf};
    case TensorType::kQ5_1:
      return {5, ScaleKind::kHalfMin};
    case TensorType::kQ8_0:
      return {8, ScaleKind::kHalf};
    case TensorType::kQ4_K:
      return {4, ScaleKind::kSuperMin};
    case TensorType::kQ5_K:
      return {5, ScaleKind::kSuperMin};
    case TensorType::kQ6_K:
      return {6, ScaleKind::kSuperSigned16};
    case TensorType::kAwq4: {
      const int group = AwqKernelGroup(tensor);
      return {4, group == 128  ? ScaleKind::kZero128
                 : group == 64 ? ScaleKind::kZero64
                               : ScaleKind::kZero32};
    }
    case TensorType::kI32:
      break;  // refused by CheckStackedTensors
  }
  KVP_CHECK(false) << "tensor type " << static_cast<int>(tensor.type);
  return {};
}

void PackPanel(TensorType type, const PanelLayout& layout,
               const std::array<const std::byte*, kPanelRows>& rows, uint8_t* panel) {
  const PackedFormat& format = layout.format;
  const int units = layout.padded_cols / kUnitCols, supers = layout.cols / kSuperCols;
  for (int r = 0; r < kPanelRows; ++r) {
    if (rows[r] == nullptr) continue;
    RowWriter out(format, r, panel);
    if (format.is_bf16()) {
      PackBf16(type, rows[r], layout.cols, r, panel);
    } else if (format.bits == 8) {
      PackQ8(rows[r], units, out);
    } else if (format.scales == ScaleKind::kSuperMin) {
      PackSuperMin(format, rows[r], supers, out);
    } else if (format.scales == ScaleKind::kSuperSigned16) {
      PackQ6K(rows[r], supers, out);
    } else {
      PackBlocks32(format, rows[r], units, out);
    }
  }
}

void PackAwqPanel(const TensorView& tensor, int first_row, int num_rows, const PanelLayout& layout,
                  uint8_t* panel) {
  const AwqRows rows = UnpackAwqRows(tensor, first_row, num_rows);
  const int record_units = layout.format.record_units();
  for (int r = 0; r < num_rows; ++r) {
    RowWriter out(layout.format, r, panel);
    const uint8_t* codes = &rows.codes[static_cast<size_t>(r) * layout.cols];
    for (int unit = 0; unit < layout.padded_cols / kUnitCols; ++unit) {
      for (int v = 0; v < 4; ++v) {
        const uint32_t low = Load32(codes + unit * kUnitCols + 4 * v);
        const uint32_t high = Load32(codes + unit * kUnitCols + 4 * v + 16);
        out.Low(unit, v, low | high << 4);
      }
      if (unit % record_units != 0) continue;
      const size_t group = size_t(r) * rows.groups + unit * kUnitCols / tensor.awq.group_cols;
      out.Scale(unit, &rows.scales[group]);
      out.Zero(unit, rows.zeros[group]);
    }
  }
}

}  // namespace kvpareto::cpu
