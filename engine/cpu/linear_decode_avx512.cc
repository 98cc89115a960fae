#include "engine/cpu/linear_decode.h"
#include "engine/cpu/panel_codes_avx512.h"
#include "engine/cpu/prefetch_run.h"

namespace kvpareto::cpu {
namespace {

constexpr float kLargest = 32512.0f;  // 127 * 256: high stays within a signed byte

// sums + codes times the four activations at x, lane by lane: _mm512_dpbusd_epi32 of a broadcast,
// which GCC 12 makes an instruction of its own.
[[gnu::always_inline]] inline __m512i AddProducts(__m512i sums, __m512i codes, const int8_t* x) {
  // volatile: stays between the prefetches around it.
  asm volatile("vpdpbusd %2%{1to16%}, %1, %0"
               : "+v"(sums)
               : "v"(codes), "m"(*reinterpret_cast<const int8_t(*)[4]>(x)));
  return sums;
}

// A row's activations of one unit.
struct UnitInput {
  const int8_t* high;
  const int8_t* low;
  float step;
  float step_sum;
  const int32_t* sum;
};

[[gnu::always_inline]] inline UnitInput InputAt(const QuantizedRows& rows, size_t index) {
  const int8_t* bytes = rows.bytes + index * 2 * kUnitCols;
  return {bytes, bytes + kUnitCols, rows.step[index], rows.step_sum[index], rows.sum + 2 * index};
}

// Sum over half h of (code - offset) * integer activation, exact. Meanwhile asks for kLines lines
// at `ahead`, half of them in either half.
template <int kOffset, int kLines>
[[gnu::always_inline]] inline __m512i DotHalf(const UnitCodes& codes, const UnitInput& x, int h,
                                              const uint8_t* ahead) {
  __m512i high = _mm512_setzero_si512();
  __m512i low = _mm512_set1_epi32(-kOffset * x.sum[h]);
#pragma GCC unroll 4
  for (int v = 4 * h; v < 4 * h + 4; ++v) {
    PrefetchPart<kLines, 8>(ahead, v);
    high = AddProducts(high, codes.v[v], x.high + 4 * v);
    low = AddProducts(low, codes.v[v], x.low + 4 * v);
  }
  return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

// Of the whole unit.
template <int kOffset, int kLines>
[[gnu::always_inline]] inline __m512i DotUnit(const UnitCodes& codes, const UnitInput& x,
                                              const uint8_t* ahead) {
  __m512i high[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  __m512i low[2] = {_mm512_set1_epi32(-kOffset * (x.sum[0] + x.sum[1])), _mm512_setzero_si512()};
#pragma GCC unroll 8
  for (int v = 0; v < 8; ++v) {
    PrefetchPart<kLines, 8>(ahead, v);
    high[v / 4] = AddProducts(high[v / 4], codes.v[v], x.high + 4 * v);
    low[v / 4] = AddProducts(low[v / 4], codes.v[v], x.low + 4 * v);
  }
  return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(high[0], high[1]), 8),
                          _mm512_add_epi32(low[0], low[1]));
}

// Rows [first_row, first_row + kRows) of one pass times a panel. kAhead: rows.prefetch.
template <PackedFormat F, int kRows, bool kAhead>
void Multiply(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  constexpr int kOffset = F.offset();
  constexpr bool kMinimum = F.has_minimum();
  __m512 sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  size_t index = rows.IndexOf(first_row, 0);
  for (int unit = 0; unit < rows.units; ++unit, index += rows.rows_per_pass) {
    const uint8_t* const ahead = StreamAhead<F>(panel, unit);
    const UnitCodes codes = LoadCodes<F>(panel, unit);
    const UnitScales scales = LoadScales<F>(panel, unit);
    const auto add_row = [&]<int kLines>(int r) __attribute__((always_inline)) {
      const UnitInput x = InputAt(rows, index + r);
      const __m512 step = _mm512_set1_ps(x.step);
      if constexpr (F.scales == ScaleKind::kSuperSigned16) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const __m512 dot = _mm512_cvtepi32_ps(DotHalf<kOffset, kLines>(codes, x, h, ahead));
          sums[r] = _mm512_fmadd_ps(_mm512_mul_ps(dot, scales.scale[h]), step, sums[r]);
        }
      } else {
        const __m512 dot = _mm512_cvtepi32_ps(DotUnit<kOffset, kLines>(codes, x, ahead));
        sums[r] = _mm512_fmadd_ps(_mm512_mul_ps(dot, scales.scale[0]), step, sums[r]);
      }
      if constexpr (kMinimum) {
        sums[r] = _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(x.step_sum), sums[r]);
      }
    };
    add_row.template operator()<kAhead ? kShareLines<F> : 0>(0);
#pragma GCC unroll 8
    for (int r = 1; r < kRows; ++r) add_row.template operator()<0>(r);
  }
  for (int r = 0; r < kRows; ++r) _mm512_storeu_ps(out + r * kPanelRows, sums[r]);
}

// bf16 panels in f32: four sums per row (two columns of two pairs) hide the latency of a row alone.
template <int kRows, bool kAhead>
void MultiplyBf16(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  __m512 sums[kRows][4];
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < 4; ++i) sums[r][i] = _mm512_setzero_ps();
  }
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const float* x = rows.x + static_cast<size_t>(first_row) * rows.cols;
  const auto add = [&](int c, int i, bool odd_exists) {
    const uint8_t* const line = panel.data + sizeof(uint16_t) * kPanelRows * c;
    PrefetchPart<kAhead ? 1 : 0, 1>(line + kStreamAheadBytes, 0);
    const __m512i pair = _mm512_loadu_si512(line);
    const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pair, upper));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float* xr = x + static_cast<size_t>(r) * rows.cols + c;
      sums[r][2 * i] = _mm512_fmadd_ps(even, _mm512_set1_ps(xr[0]), sums[r][2 * i]);
      if (!odd_exists) continue;
      sums[r][2 * i + 1] = _mm512_fmadd_ps(odd, _mm512_set1_ps(xr[1]), sums[r][2 * i + 1]);
    }
  };
  int c = 0;
  for (; c + 4 <= rows.cols; c += 4) {
    add(c, 0, true);
    add(c + 2, 1, true);
  }
  for (; c < rows.cols; c += 2) add(c, c / 2 % 2, c + 1 < rows.cols);
  for (int r = 0; r < kRows; ++r) {
    const __m512 first = _mm512_add_ps(sums[r][0], sums[r][1]);
    _mm512_storeu_ps(out + r * kPanelRows,
                     _mm512_add_ps(first, _mm512_add_ps(sums[r][2], sums[r][3])));
  }
}

template <int kRows>
void MultiplyPanel(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() {
    const auto multiply = [&]<bool kAhead>() {
      if constexpr (F.is_bf16()) {
        MultiplyBf16<kRows, kAhead>(panel, rows, first_row, out);
      } else {
        Multiply<F, kRows, kAhead>(panel, rows, first_row, out);
      }
    };
    if (rows.prefetch) {
      multiply.template operator()<true>();
    } else {
      multiply.template operator()<false>();
    }
  });
}

void DecodePanel(const PanelView& panel, const QuantizedRows& rows, int first_row, int num_rows,
                 float* out) {
  switch (num_rows) {
    case 1:
      return MultiplyPanel<1>(panel, rows, first_row, out);
    case 2:
      return MultiplyPanel<2>(panel, rows, first_row, out);
    case 3:
      return MultiplyPanel<3>(panel, rows, first_row, out);
    case 4:
      return MultiplyPanel<4>(panel, rows, first_row, out);
    case 8:
      return MultiplyPanel<8>(panel, rows, first_row, out);
    default:
      break;
  }
  MultiplyPanel<4>(panel, rows, first_row, out);
  DecodePanel(panel, rows, first_row + 4, num_rows - 4, out + 4 * kPanelRows);
}

}  // namespace

void QuantizeRowAvx512(const QuantizedRows& rows, int row) {
  const float* x = rows.x + static_cast<size_t>(row) * rows.cols;
  for (int unit = 0; unit < rows.units; ++unit, x += kUnitCols) {
    const size_t index = rows.IndexOf(row, unit);
    const int left = rows.cols - unit * kUnitCols;
    __m512 values[2];
    for (int h = 0; h < 2; ++h) {
      const int count = left - 16 * h;
      const __mmask16 mask = count >= 16  ? 0xffff
                             : count <= 0 ? 0
                                          : static_cast<__mmask16>((1u << count) - 1);
      values[h] = _mm512_maskz_loadu_ps(mask, x + 16 * h);
    }
    const float largest =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(values[0]), _mm512_abs_ps(values[1])));
    const float inverse = largest > 0.0f ? kLargest / largest : 0.0f;
    const float step = largest / kLargest;
    for (int h = 0; h < 2; ++h) {
      const __m512i integer = _mm512_cvtps_epi32(_mm512_mul_ps(values[h], _mm512_set1_ps(inverse)));
      // Rounded, so that low = integer - 256 high fits a signed byte.
      const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(integer, _mm512_set1_epi32(128)), 8);
      const __m512i low = _mm512_sub_epi32(integer, _mm512_slli_epi32(high, 8));
      int8_t* to = rows.bytes + index * 2 * kUnitCols + 16 * h;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + kUnitCols), _mm512_cvtepi32_epi8(low));
      rows.sum[2 * index + h] = _mm512_reduce_add_epi32(integer);
    }
    rows.step[index] = step;
    rows.step_sum[index] = step * static_cast<float>(rows.sum[2 * index] + rows.sum[2 * index + 1]);
  }
}

void DecodeRowsAvx512(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                      int num_rows, float* out) {
  for (const PanelView& panel : panels) {
    DecodePanel(panel, rows, first_row, num_rows, out);
    out += num_rows * kPanelRows;
  }
}

}  // namespace kvpareto::cpu
