// How weights lie in memory: panels of 16 rows whose codes stay in 4, 5, 6 or 8 bits.
//
// A panel is a sequence of records, each with all there is of its 1, 2, 4 or 8 units of 16 rows x
// 32 columns: reading a panel is one stream, which is what hardware prefetchers follow best. A
// record holds, one after another:
//   the low planes of its units: 8 vectors of 16 lanes x 4 bytes each, where vector v, lane r, byte
//     j is the code of row r, column 4v + j. That is the operand of a 4-way byte dot product with
//     the 4 activations of columns 4v.. broadcast. Codes below 8 bits come out by shifts and masks
//     alone: 4 x 64 bytes, byte j of lane r of vector v < 4 has vector v's code in its low nibble
//     and vector v + 4's in its high one (GGUF's own order of a block of 32);
//   their high planes: for 5 bits 64 bytes, where bit v of byte j of lane r is the fifth bit of
//     vector v; for 6 bits 2 x 64 bytes, where bits 2f, 2f + 1 of byte j of vector u belong to
//     v = 4u + f;
//   scales and minima: vectors of 16 rows.
// Codes are unsigned; value = scale * (code - offset), or scale * code + minimum. A zero stands for
// the minimum -scale * zero, which a float holds exactly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kUnitCols = 32;
inline constexpr int kSuperCols = 256;

enum class ScaleKind : uint8_t {
  kHalf,           // f16 scale per row and 32 columns
  kHalfMin,        // and an f16 minimum
  kSuperMin,       // u8 scale and minimum per 32 columns, times an f16 scale of each per 256
  kSuperSigned16,  // i8 scale per 16 columns, times an f16 scale per 256
  kZero32,         // f16 scale and u8 zero per row and 32 columns
  kZero64,         // per 64
  kZero128,        // per 128
};

struct PackedFormat {
  int bits = 0;  // 4, 5, 6, 8; 16: bf16 values instead of codes
  ScaleKind scales = ScaleKind::kHalf;

  constexpr bool operator==(const PackedFormat&) const = default;
  constexpr bool is_bf16() const { return bits == 16; }
  constexpr bool has_super() const {
    return scales == ScaleKind::kSuperMin || scales == ScaleKind::kSuperSigned16;
  }
  constexpr bool has_zero() const {
    return scales == ScaleKind::kZero32 || scales == ScaleKind::kZero64 ||
           scales == ScaleKind::kZero128;
  }
  constexpr bool has_half_minimum() const {
    return scales == ScaleKind::kHalfMin || scales == ScaleKind::kSuperMin;
  }
  constexpr bool has_minimum() const { return has_half_minimum() || has_zero(); }
  constexpr int offset() const { return has_minimum() ? 0 : 1 << (bits - 1); }
  constexpr int low_bytes() const { return bits == 8 ? 512 : 256; }  // per unit
  constexpr int high_bytes() const { return bits == 5 ? 64 : bits == 6 ? 128 : 0; }

  // Units of a record: two halves of a cache line of scales, or the columns of a super scale, or of
  // a zero.
  constexpr int record_units() const {
    if (has_super()) return kSuperCols / kUnitCols;
    if (scales == ScaleKind::kZero64) return 2;
    if (scales == ScaleKind::kZero128) return 4;
    return has_minimum() ? 1 : 2;
  }
  constexpr int half_vectors() const {  // of f16, per record
    return (has_super() || has_zero() ? 1 : record_units()) * (has_half_minimum() ? 2 : 1);
  }
  constexpr int sub_vectors() const {  // of bytes, per record
    return has_super() ? 2 * record_units() : has_zero() ? 1 : 0;
  }
  constexpr int record_bytes() const {
    const int bytes = record_units() * (low_bytes() + high_bytes()) +
                      kPanelRows * (2 * half_vectors() + sub_vectors());
    return (bytes + 63) / 64 * 64;
  }
};

inline constexpr PackedFormat kPackedBf16{16, ScaleKind::kHalf};

// Calls fn.template operator()<F>() for the format; every packed format is listed here.
template <typename Fn>
auto VisitFormat(PackedFormat format, Fn&& fn) {
  switch (format.scales) {
    case ScaleKind::kHalfMin:
      return format.bits == 4 ? fn.template operator()<PackedFormat{4, ScaleKind::kHalfMin}>()
                              : fn.template operator()<PackedFormat{5, ScaleKind::kHalfMin}>();
    case ScaleKind::kSuperMin:
      return format.bits == 4 ? fn.template operator()<PackedFormat{4, ScaleKind::kSuperMin}>()
                              : fn.template operator()<PackedFormat{5, ScaleKind::kSuperMin}>();
    case ScaleKind::kSuperSigned16:
      return fn.template operator()<PackedFormat{6, ScaleKind::kSuperSigned16}>();
    case ScaleKind::kZero32:
      return fn.template operator()<PackedFormat{4, ScaleKind::kZero32}>();
    case ScaleKind::kZero64:
      return fn.template operator()<PackedFormat{4, ScaleKind::kZero64}>();
    case ScaleKind::kZero128:
      return fn.template operator()<PackedFormat{4, ScaleKind::kZero128}>();
    case ScaleKind::kHalf:
      break;
  }
  switch (format.bits) {
    case 4:
      return fn.template operator()<PackedFormat{4, ScaleKind::kHalf}>();
    case 5:
      return fn.template operator()<PackedFormat{5, ScaleKind::kHalf}>();
    case 8:
      return fn.template operator()<PackedFormat{8, ScaleKind::kHalf}>();
    default:
      return fn.template operator()<kPackedBf16>();
  }
}

// Byte offsets of a unit's parts in a panel; those that the format lacks are meaningless.
struct UnitOffsets {
  size_t low = 0;
  size_t high = 0;
  size_t scale = 0;        // [16 rows] f16
  size_t minimum = 0;      // [16 rows] f16
  size_t sub_scale = 0;    // [16 rows] bytes; kSuperSigned16: [2 halves of the unit, 16 rows]
  size_t sub_minimum = 0;  // [16 rows] bytes
  size_t zero = 0;         // [16 rows] bytes
};

// Inlined by force: with a constant format it is a few additions, and a call for every unit would
// spill the sums of the loop around it.
[[gnu::always_inline]] constexpr UnitOffsets OffsetsOf(PackedFormat format, int unit) {
  const int units = format.record_units(), u = unit % units;
  UnitOffsets offsets;
  const size_t record = static_cast<size_t>(unit / units) * format.record_bytes();
  offsets.low = record + u * format.low_bytes();
  offsets.high = record + units * format.low_bytes() + u * format.high_bytes();
  const size_t halves = record + units * (format.low_bytes() + format.high_bytes());
  constexpr int kHalfBytes = 2 * kPanelRows;
  const bool one_scale = format.has_super() || format.has_zero();
  offsets.scale = halves + (one_scale ? 0 : u * kHalfBytes);
  // Formats with a minimum have one scale per record.
  offsets.minimum = halves + kHalfBytes;
  const size_t subs = halves + format.half_vectors() * kHalfBytes;
  if (format.has_zero()) {
    offsets.zero = subs;
  } else if (format.scales == ScaleKind::kSuperSigned16) {
    offsets.sub_scale = subs + u * 2 * kPanelRows;
  } else {
    offsets.sub_scale = subs + u * kPanelRows;
    offsets.sub_minimum = subs + (units + u) * kPanelRows;
  }
  return offsets;
}

// bf16 panels are [padded_cols / 2, 16 rows, 2 columns] of uint16_t, as bf16 products read
// them.
struct PanelLayout {
  PackedFormat format;
  int cols = 0;
  int padded_cols = 0;  // whole units; columns past `cols` (bf16 only) are zero
  size_t bytes = 0;     // of a panel, a multiple of 64
};

PanelLayout MakePanelLayout(PackedFormat format, int cols);

// One panel of a weight, as kernels see it.
struct PanelView {
  const PanelLayout* layout = nullptr;
  const uint8_t* data = nullptr;
  int first_row = 0;  // of the weight
  int rows = 0;       // 1..16 rows that exist
};

}  // namespace kvpareto::cpu
