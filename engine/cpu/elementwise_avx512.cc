#include <immintrin.h>

#include "engine/cpu/elementwise.h"

// Nothing but intrinsics and this file's own functions: an inline function of a shared header would
// be compiled for AVX-512 here and might be the copy that the linker keeps.
namespace kvpareto::cpu {
namespace {

constexpr int kLanes = 16;

__mmask16 TailMask(int count) {
  return count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

// exp(x), relative error below 2e-7 in the normal range: 2^n * p(r), r = x - n ln 2, with Cephes'
// polynomial. Saturates to 0 and infinity.
__m512 Exp(__m512 x) {
  x = _mm512_min_ps(x, _mm512_set1_ps(89.0f));
  x = _mm512_max_ps(x, _mm512_set1_ps(-104.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  constexpr float kPolynomial[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                   1.6666665459e-1f, 5.0000001201e-1f};
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  for (const float c : kPolynomial) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

// sin and cos of |x| up to about 2^21: x - n pi/2 in three parts, then Cephes' polynomials on
// [-pi/4, pi/4]; absolute error below 2e-7.
void SinCos(__m512 x, __m512* sine, __m512* cosine) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.636619772367581343f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.921fb6p+0f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.777a5cp-25f), r);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.ee59dap-50f), r);
  const __m512 r2 = _mm512_mul_ps(r, r);
  __m512 s = _mm512_set1_ps(-1.9515295891e-4f);
  s = _mm512_fmadd_ps(s, r2, _mm512_set1_ps(8.3321608736e-3f));
  s = _mm512_fmadd_ps(s, r2, _mm512_set1_ps(-1.6666654611e-1f));
  s = _mm512_fmadd_ps(_mm512_mul_ps(s, r2), r, r);
  __m512 c = _mm512_set1_ps(2.443315711809948e-5f);
  c = _mm512_fmadd_ps(c, r2, _mm512_set1_ps(-1.388731625493765e-3f));
  c = _mm512_fmadd_ps(c, r2, _mm512_set1_ps(4.166664568298827e-2f));
  c = _mm512_fmadd_ps(_mm512_mul_ps(c, r2), r2,
                      _mm512_fnmadd_ps(r2, _mm512_set1_ps(0.5f), _mm512_set1_ps(1.0f)));
  // Quadrant q: sin is s, c, -s, -c; cos is c, -s, -c, s.
  const __m512i q = _mm512_cvtps_epi32(n);
  const __mmask16 odd = _mm512_test_epi32_mask(q, _mm512_set1_epi32(1));
  const __m512i two = _mm512_set1_epi32(2);
  const __m512i sine_sign = _mm512_slli_epi32(_mm512_and_si512(q, two), 30);
  const __m512i cosine_sign =
      _mm512_slli_epi32(_mm512_and_si512(_mm512_add_epi32(q, _mm512_set1_epi32(1)), two), 30);
  const auto with_sign = [](__m512 value, __m512i sign) {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(value), sign));
  };
  *sine = with_sign(_mm512_mask_blend_ps(odd, s, c), sine_sign);
  *cosine = with_sign(_mm512_mask_blend_ps(odd, c, s), cosine_sign);
}

void RmsNorm(const float* x, const float* weight, int cols, float epsilon, float* y) {
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                    _mm512_setzero_ps()};
  for (int c = 0; c < cols; c += kLanes) {
    const __m512 v = _mm512_maskz_loadu_ps(TailMask(cols - c), x + c);
    __m512& sum = sums[c / kLanes % 4];
    sum = _mm512_fmadd_ps(v, v, sum);
  }
  const float sum = _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  const __m128 mean = _mm_set_ss(sum / static_cast<float>(cols) + epsilon);
  const __m512 scale = _mm512_set1_ps(1.0f / _mm_cvtss_f32(_mm_sqrt_ss(mean)));
  for (int c = 0; c < cols; c += kLanes) {
    const __mmask16 mask = TailMask(cols - c);
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + c), scale);
    _mm512_mask_storeu_ps(y + c, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + c)));
  }
}

void RopeAngles(int position, const float* inverse_frequency, int pairs, float* cosine,
                float* sine) {
  const __m512 p = _mm512_set1_ps(static_cast<float>(position));
  for (int i = 0; i < pairs; i += kLanes) {
    const __mmask16 mask = TailMask(pairs - i);
    __m512 s, c;
    SinCos(_mm512_mul_ps(p, _mm512_maskz_loadu_ps(mask, inverse_frequency + i)), &s, &c);
    _mm512_mask_storeu_ps(sine + i, mask, s);
    _mm512_mask_storeu_ps(cosine + i, mask, c);
  }
}

void Rope(const float* cosine, const float* sine, int pairs, float* x) {
  for (int i = 0; i < pairs; i += kLanes) {
    const __mmask16 mask = TailMask(pairs - i);
    const __m512 c = _mm512_maskz_loadu_ps(mask, cosine + i);
    const __m512 s = _mm512_maskz_loadu_ps(mask, sine + i);
    const __m512 first = _mm512_maskz_loadu_ps(mask, x + i);
    const __m512 second = _mm512_maskz_loadu_ps(mask, x + i + pairs);
    _mm512_mask_storeu_ps(x + i, mask, _mm512_fmsub_ps(first, c, _mm512_mul_ps(second, s)));
    _mm512_mask_storeu_ps(x + i + pairs, mask, _mm512_fmadd_ps(second, c, _mm512_mul_ps(first, s)));
  }
}

// kRows vectors times kVectors * kLanes columns of a matrix with rows of n, the last vector's lanes
// masked. The sums stay in registers; a row of the matrix is loaded once for all vectors.
template <int kRows, int kVectors>
void MultiplyColumns(float* const* x, const float* matrix, int n, __mmask16 last, float* y) {
  __m512 sums[kRows][kVectors];
  for (auto& row : sums) {
    for (__m512& sum : row) sum = _mm512_setzero_ps();
  }
  for (int i = 0; i < n; ++i, matrix += n) {
    __m512 columns[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      columns[v] =
          _mm512_maskz_loadu_ps(v + 1 < kVectors ? __mmask16{0xffff} : last, matrix + v * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const __m512 factor = _mm512_set1_ps(x[r][i]);
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_fmadd_ps(factor, columns[v], sums[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_store_ps(y + r * kMaxMultiply + v * kLanes, sums[r][v]);
    }
  }
}

template <int kRows>
void MultiplyBlock(float* const* x, const float* matrix, int n) {
  alignas(64) float y[kRows * kMaxMultiply];
  constexpr int kWide = 4;  // with 6 rows: 24 sums of 32 registers
  int o = 0;
  for (; o + kWide * kLanes <= n; o += kWide * kLanes) {
    MultiplyColumns<kRows, kWide>(x, matrix + o, n, 0xffff, y + o);
  }
  for (; o < n; o += kLanes) {
    MultiplyColumns<kRows, 1>(x, matrix + o, n, TailMask(n - o), y + o);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < n; c += kLanes) {
      _mm512_mask_storeu_ps(x[r] + c, TailMask(n - c), _mm512_load_ps(y + r * kMaxMultiply + c));
    }
  }
}

void MultiplyRows(float* const* x, int count, const float* matrix, int n) {
  constexpr int kBlock = 6;
  for (; count >= kBlock; count -= kBlock, x += kBlock) MultiplyBlock<kBlock>(x, matrix, n);
  for (; count >= 2; count -= 2, x += 2) MultiplyBlock<2>(x, matrix, n);
  if (count == 1) MultiplyBlock<1>(x, matrix, n);
}

void SiluMul(const float* gate, const float* up, int cols, float* y) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int c = 0; c < cols; c += kLanes) {
    const __mmask16 mask = TailMask(cols - c);
    const __m512 g = _mm512_maskz_loadu_ps(mask, gate + c);
    const __m512 e = Exp(_mm512_sub_ps(_mm512_setzero_ps(), g));
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, e));
    _mm512_mask_storeu_ps(y + c, mask, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(mask, up + c)));
  }
}

}  // namespace

constinit const ElementwiseKernels kElementwiseAvx512 = {.rms_norm = RmsNorm,
                                                         .rope_angles = RopeAngles,
                                                         .rope = Rope,
                                                         .multiply_rows = MultiplyRows,
                                                         .silu_mul = SiluMul};

}  // namespace kvpareto::cpu
