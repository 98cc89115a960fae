// Decode rows on AMX tiles: for eight rows at once, the codes of a unit (16 outputs x 32 columns)
// are the B operand as they come out of the panel, and the high and low bytes of the rows two A
// operands. The dot products are the exact integers of the vector kernel, so results are its bits;
// a unit takes about twice the time that it takes one row there.
#include "engine/cpu/linear_decode.h"
#include "engine/cpu/panel_codes_avx512.h"
#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

constexpr int kRows = kDecodeRowsPerPass;
// Fewer rows than this are faster on vectors.
constexpr int kMinTileRows = 4;

// Two sets of tiles take turns, so that one unit's products run while the last one's are scaled:
// sums in tiles 0 and 1 or 2 and 3 (of high and low bytes), activations in 4 and 5, codes in 6
// or 7.
constexpr TileConfig MakeConfig() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) config.rows[tile] = kRows;
  config.row_bytes[4] = config.row_bytes[5] = kUnitCols;
  return config;
}
constexpr TileConfig kConfig = MakeConfig();
static_assert(kRows == kUnitCols / 4, "a unit's codes are as many rows of B");

constexpr int kUnitBytes = kUnitCols * kPanelRows;

// Codes of a unit as rows of B, [8, 16 outputs, 4 columns].
struct UnitBytes {
  alignas(64) uint8_t rows[kUnitBytes];
};

// Integer products of eight rows with 16 outputs.
struct UnitSums {
  alignas(64) int32_t high[kRows][kPanelRows];
  alignas(64) int32_t low[kRows][kPanelRows];
};

// Half `h` of the codes, zeros in the place of the other; all of them with h < 0.
void StoreCodes(const UnitCodes& codes, int h, UnitBytes& to) {
  for (int v = 0; v < 8; ++v) {
    const bool wanted = h < 0 || v / 4 == h;
    _mm512_store_si512(to.rows + 64 * v, wanted ? codes.v[v] : _mm512_setzero_si512());
  }
}

// Activations of one unit: high and low bytes of eight rows, `stride` bytes apart.
struct UnitRows {
  const int8_t* high;
  const int8_t* low;
  size_t stride;
};

template <int kSet>
[[gnu::always_inline]] inline void MultiplyUnit(const UnitRows& x, const UnitBytes& codes,
                                                UnitSums& sums) {
  OrderMemory();
  _tile_loadd(4, x.high, x.stride);
  _tile_loadd(5, x.low, x.stride);
  if constexpr (kSet == 0) {
    _tile_loadd(6, codes.rows, 64);
    _tile_zero(0);
    _tile_zero(1);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 5, 6);
    _tile_stored(0, sums.high, sizeof(sums.high[0]));
    _tile_stored(1, sums.low, sizeof(sums.low[0]));
  } else {
    _tile_loadd(7, codes.rows, 64);
    _tile_zero(2);
    _tile_zero(3);
    _tile_dpbsud(2, 4, 7);
    _tile_dpbsud(3, 5, 7);
    _tile_stored(2, sums.high, sizeof(sums.high[0]));
    _tile_stored(3, sums.low, sizeof(sums.low[0]));
  }
  OrderMemory();
}

// sum += scale * step * (256 high + low - offset * sum of the integers), as on vectors.
template <int kOffset>
[[gnu::always_inline]] inline __m512 AddDot(const UnitSums& sums, int r, int32_t integers,
                                            __m512 scale, __m512 step, __m512 sum) {
  const __m512i low =
      _mm512_add_epi32(_mm512_load_si512(sums.low[r]), _mm512_set1_epi32(-kOffset * integers));
  const __m512i dot = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(sums.high[r]), 8), low);
  return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale), step, sum);
}

// Eight rows against a panel, unit by unit.
template <PackedFormat F>
class PanelProduct {
 public:
  PanelProduct(const PanelView& panel, const QuantizedRows& rows, int first_row)
      : panel_(panel),
        rows_(rows),
        first_row_(first_row),
        stride_(static_cast<size_t>(rows.units) * kUnitCols) {
    for (__m512& total : totals_) total = _mm512_setzero_ps();
  }

  void Run() {
    Multiply<0>(0);
    int unit = 1;
    for (; unit + 1 < rows_.units; unit += 2) {
      Multiply<1>(unit);
      Add<0>(unit - 1);
      Multiply<0>(unit + 1);
      Add<1>(unit);
    }
    if (unit < rows_.units) Multiply<1>(unit);
    Add<0>(unit - 1);
    if (unit < rows_.units) Add<1>(unit);
  }

  void Store(int num_rows, float* out) const {
    for (int r = 0; r < num_rows; ++r) _mm512_storeu_ps(out + r * kPanelRows, totals_[r]);
  }

 private:
  static constexpr bool kHalves = F.scales == ScaleKind::kSuperSigned16;
  static constexpr int kParts = kHalves ? 2 : 1;

  template <int kSet>
  [[gnu::always_inline]] void Multiply(int unit) {
    if (rows_.prefetch) PrefetchUnit<F>(panel_, unit);
    const UnitCodes codes = LoadCodes<F>(panel_, unit);
    const size_t at = first_row_ * stride_ + static_cast<size_t>(unit) * kUnitCols;
    for (int part = 0; part < kParts; ++part) {
      StoreCodes(codes, kHalves ? part : -1, bytes_[kSet][part]);
      MultiplyUnit<kSet>({rows_.high + at, rows_.low + at, stride_}, bytes_[kSet][part],
                         sums_[kSet][part]);
    }
  }

  template <int kSet>
  [[gnu::always_inline]] void Add(int unit) {
    const UnitScales scales = LoadScales<F>(panel_, unit);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const size_t index = static_cast<size_t>(first_row_ + r) * rows_.units + unit;
      const int32_t* integers = rows_.sum + 2 * index;
      const __m512 step = _mm512_set1_ps(rows_.step[index]);
      for (int part = 0; part < kParts; ++part) {
        totals_[r] = AddDot<F.offset()>(sums_[kSet][part], r,
                                        kHalves ? integers[part] : integers[0] + integers[1],
                                        scales.scale[part], step, totals_[r]);
      }
      if constexpr (F.has_minimum()) {
        totals_[r] =
            _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(rows_.step_sum[index]), totals_[r]);
      }
    }
  }

  const PanelView& panel_;
  const QuantizedRows& rows_;
  const int first_row_;
  const size_t stride_;  // bytes between rows of activations
  __m512 totals_[kRows];
  UnitBytes bytes_[2][kParts];
  UnitSums sums_[2][kParts];
};

}  // namespace

// Rows of the block behind the wanted ones are multiplied with them: their memory is there, what it
// holds does not matter.
void DecodeRowsAmx(const PanelView& panel, const QuantizedRows& rows, int first_row, int num_rows,
                   float* out) {
  const PackedFormat format = panel.layout->format;
  if (num_rows < kMinTileRows || format.is_bf16()) {
    return DecodeRowsAvx512(panel, rows, first_row, num_rows, out);
  }
  const TileSession session(kConfig);
  VisitFormat(format, [&]<PackedFormat F>() {
    if constexpr (!F.is_bf16()) {
      PanelProduct<F> product(panel, rows, first_row);
      product.Run();
      product.Store(num_rows, out);
    }
  });
}

}  // namespace kvpareto::cpu
