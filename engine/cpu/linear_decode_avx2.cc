// Codes widened to 16 bits meet 16-bit activations in pairs of products added to 32 bits
// (VPMADDWD), which is exact: 32 columns of 255 * 32512 stay below 2^29.
#include "engine/cpu/linear_decode.h"
#include "engine/cpu/panel_codes_avx2.h"
#include "engine/cpu/prefetch_run.h"

namespace kvpareto::cpu {
namespace {

constexpr float kLargest = 32512.0f;  // as on AVX-512

[[gnu::always_inline]] inline __m256i BroadcastPair(const int16_t* from) {
  int32_t pair;
  __builtin_memcpy(&pair, from, sizeof(pair));
  return _mm256_set1_epi32(pair);
}

// dots[r] += codes of 16 columns (vectors 4h..4h + 3) times row r's integers.
// x: the integers of the unit, [rows, 32].
template <PackedFormat F, int kRows>
[[gnu::always_inline]] inline void AddDots(const PanelView& panel, UnitPlace place, int h,
                                           const int16_t* x, __m256i (&dots)[kRows]) {
#pragma GCC unroll 4
  for (int v = 4 * h; v < 4 * h + 4; ++v) {
    const __m256i codes = LoadCodes<F>(panel, place, v);
    const __m256i even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
    const __m256i odd = _mm256_srli_epi16(codes, 8);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const int16_t* from = x + r * kUnitCols + 4 * v;
      const __m256i first = _mm256_madd_epi16(even, BroadcastPair(from));
      const __m256i second = _mm256_madd_epi16(odd, BroadcastPair(from + 2));
      dots[r] = _mm256_add_epi32(dots[r], _mm256_add_epi32(first, second));
    }
  }
}

template <PackedFormat F, int kRows>
void Multiply(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  constexpr bool kMinimum = F.has_minimum();
  constexpr bool kHalfScales = F.scales == ScaleKind::kSuperSigned16;
  __m256 sums[2][kRows];
  for (auto& half : sums) {
    for (__m256& sum : half) sum = _mm256_setzero_ps();
  }
  size_t index = rows.IndexOf(first_row, 0);
  for (int unit = 0; unit < rows.units; ++unit, index += rows.rows_per_pass) {
    if (rows.prefetch) PrefetchLines<kShareLines<F>>(StreamAhead<F>(panel, unit));
    const int16_t* x = rows.whole + index * kUnitCols;
    for (int half = 0; half < 2; ++half) {
      const UnitPlace place = {unit, half};
      const UnitScales scales = LoadScales<F>(panel, place);
      __m256i dots[kRows];
      // Starts from -offset times the integers' sum over the columns that share a scale.
      const auto start = [&](int h) {
        for (int r = 0; r < kRows; ++r) {
          const int32_t* sum = rows.sum + 2 * (index + r);
          dots[r] = _mm256_set1_epi32(-F.offset() * (kHalfScales ? sum[h] : sum[0] + sum[1]));
        }
      };
      const auto finish = [&](int h) {
        for (int r = 0; r < kRows; ++r) {
          const __m256 step = _mm256_set1_ps(rows.step[index + r]);
          const __m256 dot = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[r]), scales.scale[h]);
          sums[half][r] = _mm256_fmadd_ps(dot, step, sums[half][r]);
        }
      };
      start(0);
      AddDots<F, kRows>(panel, place, 0, x, dots);
      if constexpr (kHalfScales) {
        finish(0);
        start(1);
      }
      AddDots<F, kRows>(panel, place, 1, x, dots);
      finish(1);
      for (int r = 0; kMinimum && r < kRows; ++r) {
        const __m256 step_sum = _mm256_set1_ps(rows.step_sum[index + r]);
        sums[half][r] = _mm256_fmadd_ps(scales.minimum, step_sum, sums[half][r]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(out + r * kPanelRows, sums[0][r]);
    _mm256_storeu_ps(out + r * kPanelRows + kLanes, sums[1][r]);
  }
}

// bf16 panels in f32: a sum each for even and odd columns hides some of the latency of a row alone.
template <int kRows>
void MultiplyBf16(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  const float* x = rows.x + static_cast<size_t>(first_row) * rows.cols;
  for (int half = 0; half < 2; ++half) {
    __m256 sums[kRows][2];
    for (auto& row : sums) row[0] = row[1] = _mm256_setzero_ps();
    for (int c = 0; c < rows.cols; c += 2) {
      const Bf16Columns columns = LoadBf16Columns(panel, c, half);
      for (int r = 0; r < kRows; ++r) {
        const float* xr = x + static_cast<size_t>(r) * rows.cols + c;
        sums[r][0] = _mm256_fmadd_ps(columns.even, _mm256_broadcast_ss(xr), sums[r][0]);
        if (c + 1 == rows.cols) continue;
        sums[r][1] = _mm256_fmadd_ps(columns.odd, _mm256_broadcast_ss(xr + 1), sums[r][1]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      _mm256_storeu_ps(out + r * kPanelRows + kLanes * half, _mm256_add_ps(sums[r][0], sums[r][1]));
    }
  }
}

template <int kRows>
void MultiplyPanel(const PanelView& panel, const QuantizedRows& rows, int first_row, float* out) {
  VisitFormat(panel.layout->format, [&]<PackedFormat F>() {
    if constexpr (F.is_bf16()) {
      MultiplyBf16<kRows>(panel, rows, first_row, out);
    } else {
      Multiply<F, kRows>(panel, rows, first_row, out);
    }
  });
}

// 8 columns from c on; those past the end are zero.
__m256 LoadColumns(const QuantizedRows& rows, int row, int c) {
  return _mm256_maskload_ps(rows.x + static_cast<size_t>(row) * rows.cols + c,
                            TailMask(rows.cols - c));
}

int32_t ReduceAddInts(__m256i x) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

void DecodePanel(const PanelView& panel, const QuantizedRows& rows, int first_row, int num_rows,
                 float* out) {
  for (; num_rows >= 4; num_rows -= 4, first_row += 4, out += 4 * kPanelRows) {
    MultiplyPanel<4>(panel, rows, first_row, out);
  }
  if (num_rows == 3) MultiplyPanel<3>(panel, rows, first_row, out);
  if (num_rows == 2) MultiplyPanel<2>(panel, rows, first_row, out);
  if (num_rows == 1) MultiplyPanel<1>(panel, rows, first_row, out);
}

}  // namespace

void QuantizeRowAvx2(const QuantizedRows& rows, int row) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  // Lanes of a 128-bit half after packing: columns 0..3 of each operand; every four become 0 2 1 3.
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  for (int unit = 0; unit < rows.units; ++unit) {
    const size_t index = rows.IndexOf(row, unit);
    __m256 values[4];
    __m256 absolute = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
      values[i] = LoadColumns(rows, row, unit * kUnitCols + kLanes * i);
      absolute = _mm256_max_ps(absolute, _mm256_andnot_ps(sign, values[i]));
    }
    const float largest = ReduceMax(absolute);
    const __m256 inverse = _mm256_set1_ps(largest > 0.0f ? kLargest / largest : 0.0f);
    const float step = largest / kLargest;
    for (int h = 0; h < 2; ++h) {
      const __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(values[2 * h], inverse));
      const __m256i second = _mm256_cvtps_epi32(_mm256_mul_ps(values[2 * h + 1], inverse));
      // Packing works within 128-bit halves: the permutation puts columns back in order.
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
      _mm256_storeu_si256(
          reinterpret_cast<__m256i*>(rows.whole + index * kUnitCols + 2 * kLanes * h),
          _mm256_shuffle_epi8(packed, order));
      rows.sum[2 * index + h] = ReduceAddInts(_mm256_add_epi32(first, second));
    }
    rows.step[index] = step;
    rows.step_sum[index] = step * static_cast<float>(rows.sum[2 * index] + rows.sum[2 * index + 1]);
  }
}

void DecodeRowsAvx2(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                    int num_rows, float* out) {
  for (const PanelView& panel : panels) {
    DecodePanel(panel, rows, first_row, num_rows, out);
    out += num_rows * kPanelRows;
  }
}

}  // namespace kvpareto::cpu
