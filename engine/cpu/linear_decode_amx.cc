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

// Sums in tiles 0-3 (high and low bytes of two units), activations in 4 and 5, codes in 6 and 7.
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

[[gnu::always_inline]] inline void MultiplyUnit(const UnitRows& x, const UnitBytes& codes,
                                                UnitSums& sums) {
  OrderMemory();
  _tile_loadd(6, codes.rows, 64);
  _tile_loadd(4, x.high, x.stride);
  _tile_zero(0);
  _tile_dpbsud(0, 4, 6);
  _tile_loadd(5, x.low, x.stride);
  _tile_zero(1);
  _tile_dpbsud(1, 5, 6);
  _tile_stored(0, sums.high, sizeof(sums.high[0]));
  _tile_stored(1, sums.low, sizeof(sums.low[0]));
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

template <PackedFormat F>
void Multiply(const PanelView& panel, const QuantizedRows& rows, int first_row, int num_rows,
              float* out) {
  constexpr bool kHalves = F.scales == ScaleKind::kSuperSigned16;
  constexpr int kParts = kHalves ? 2 : 1;
  __m512 totals[kRows];
  for (__m512& total : totals) total = _mm512_setzero_ps();
  UnitBytes bytes[kParts];
  UnitSums sums[kParts];
  const size_t stride = static_cast<size_t>(rows.units) * kUnitCols;
  for (int unit = 0; unit < rows.units; ++unit) {
    if (rows.prefetch) PrefetchUnit<F>(panel, unit);
    const UnitCodes codes = LoadCodes<F>(panel, unit);
    const UnitScales scales = LoadScales<F>(panel, unit);
    const size_t at = first_row * stride + static_cast<size_t>(unit) * kUnitCols;
    for (int part = 0; part < kParts; ++part) {
      StoreCodes(codes, kHalves ? part : -1, bytes[part]);
      MultiplyUnit({rows.high + at, rows.low + at, stride}, bytes[part], sums[part]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const size_t index = static_cast<size_t>(first_row + r) * rows.units + unit;
      const int32_t* integers = rows.sum + 2 * index;
      const __m512 step = _mm512_set1_ps(rows.step[index]);
      for (int part = 0; part < kParts; ++part) {
        totals[r] =
            AddDot<F.offset()>(sums[part], r, kHalves ? integers[part] : integers[0] + integers[1],
                               scales.scale[part], step, totals[r]);
      }
      if constexpr (F.has_minimum()) {
        totals[r] =
            _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(rows.step_sum[index]), totals[r]);
      }
    }
  }
  for (int r = 0; r < num_rows; ++r) _mm512_storeu_ps(out + r * kPanelRows, totals[r]);
}

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
    if constexpr (!F.is_bf16()) Multiply<F>(panel, rows, first_row, num_rows, out);
  });
}

}  // namespace kvpareto::cpu
