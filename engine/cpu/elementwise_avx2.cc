#include "engine/cpu/elementwise.h"
#include "engine/cpu/vector_avx2.h"

// Nothing but intrinsics and anonymous functions, for the reason given in elementwise_avx512.cc.
namespace kvpareto::cpu {
namespace {

// 2^n for integers -126 <= n <= 127.
__m256 PowerOfTwo(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// exp(x), relative error below 2e-7 in the normal range: 2^n * p(r), r = x - n ln 2, with Cephes'
// polynomial. Saturates to 0 and infinity.
__m256 Exp(__m256 x) {
  x = _mm256_min_ps(x, _mm256_set1_ps(89.0f));
  x = _mm256_max_ps(x, _mm256_set1_ps(-104.0f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  constexpr float kPolynomial[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f,
                                   1.6666665459e-1f, 5.0000001201e-1f};
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
  for (const float c : kPolynomial) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  // n is within [-150, 128]: its two halves are exponents of normal numbers.
  const __m256i exponent = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(exponent, 1);
  p = _mm256_mul_ps(p, PowerOfTwo(half));
  return _mm256_mul_ps(p, PowerOfTwo(_mm256_sub_epi32(exponent, half)));
}

// sin and cos of |x| up to about 2^21: x - n pi/2 in three parts, then Cephes' polynomials on
// [-pi/4, pi/4]; absolute error below 2e-7.
void SinCos(__m256 x, __m256* sine, __m256* cosine) {
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0.636619772367581343f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.921fb6p+0f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.777a5cp-25f), r);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.ee59dap-50f), r);
  const __m256 r2 = _mm256_mul_ps(r, r);
  __m256 s = _mm256_set1_ps(-1.9515295891e-4f);
  s = _mm256_fmadd_ps(s, r2, _mm256_set1_ps(8.3321608736e-3f));
  s = _mm256_fmadd_ps(s, r2, _mm256_set1_ps(-1.6666654611e-1f));
  s = _mm256_fmadd_ps(_mm256_mul_ps(s, r2), r, r);
  __m256 c = _mm256_set1_ps(2.443315711809948e-5f);
  c = _mm256_fmadd_ps(c, r2, _mm256_set1_ps(-1.388731625493765e-3f));
  c = _mm256_fmadd_ps(c, r2, _mm256_set1_ps(4.166664568298827e-2f));
  c = _mm256_fmadd_ps(_mm256_mul_ps(c, r2), r2,
                      _mm256_fnmadd_ps(r2, _mm256_set1_ps(0.5f), _mm256_set1_ps(1.0f)));
  // Quadrant q: sin is s, c, -s, -c; cos is c, -s, -c, s. A blend looks at the highest bit.
  const __m256i q = _mm256_cvtps_epi32(n);
  const __m256 odd = _mm256_castsi256_ps(_mm256_slli_epi32(q, 31));
  const __m256i two = _mm256_set1_epi32(2);
  const __m256i sine_sign = _mm256_slli_epi32(_mm256_and_si256(q, two), 30);
  const __m256i cosine_sign =
      _mm256_slli_epi32(_mm256_and_si256(_mm256_add_epi32(q, _mm256_set1_epi32(1)), two), 30);
  *sine = _mm256_xor_ps(_mm256_blendv_ps(s, c, odd), _mm256_castsi256_ps(sine_sign));
  *cosine = _mm256_xor_ps(_mm256_blendv_ps(c, s, odd), _mm256_castsi256_ps(cosine_sign));
}

void RmsNorm(const float* x, const float* weight, int cols, float epsilon, float* y) {
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                    _mm256_setzero_ps()};
  for (int c = 0; c < cols; c += kLanes) {
    const __m256 v = _mm256_maskload_ps(x + c, TailMask(cols - c));
    __m256& sum = sums[c / kLanes % 4];
    sum = _mm256_fmadd_ps(v, v, sum);
  }
  const float sum =
      ReduceAdd(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
  const __m128 mean = _mm_set_ss(sum / static_cast<float>(cols) + epsilon);
  const __m256 scale = _mm256_set1_ps(1.0f / _mm_cvtss_f32(_mm_sqrt_ss(mean)));
  for (int c = 0; c < cols; c += kLanes) {
    const __m256i mask = TailMask(cols - c);
    const __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + c, mask), scale);
    _mm256_maskstore_ps(y + c, mask, _mm256_mul_ps(v, _mm256_maskload_ps(weight + c, mask)));
  }
}

void RopeAngles(int position, const float* inverse_frequency, int pairs, float* cosine,
                float* sine) {
  const __m256 p = _mm256_set1_ps(static_cast<float>(position));
  for (int i = 0; i < pairs; i += kLanes) {
    const __m256i mask = TailMask(pairs - i);
    __m256 s, c;
    // The definition's angle is a rounded product.
    SinCos(Rounded(_mm256_mul_ps(p, _mm256_maskload_ps(inverse_frequency + i, mask))), &s, &c);
    _mm256_maskstore_ps(sine + i, mask, s);
    _mm256_maskstore_ps(cosine + i, mask, c);
  }
}

void Rope(const float* cosine, const float* sine, int pairs, float* x) {
  for (int i = 0; i < pairs; i += kLanes) {
    const __m256i mask = TailMask(pairs - i);
    const __m256 c = _mm256_maskload_ps(cosine + i, mask);
    const __m256 s = _mm256_maskload_ps(sine + i, mask);
    const __m256 first = _mm256_maskload_ps(x + i, mask);
    const __m256 second = _mm256_maskload_ps(x + i + pairs, mask);
    _mm256_maskstore_ps(x + i, mask, _mm256_fmsub_ps(first, c, _mm256_mul_ps(second, s)));
    _mm256_maskstore_ps(x + i + pairs, mask, _mm256_fmadd_ps(second, c, _mm256_mul_ps(first, s)));
  }
}

// kRows vectors times 16 columns of a matrix with rows of n, of which `columns` exist. The sums
// stay in registers; a row of the matrix is loaded once for all vectors.
template <int kRows>
void MultiplyColumns(float* const* x, const float* matrix, int n, int columns, float* y) {
  const __m256i masks[2] = {TailMask(columns), TailMask(columns - kLanes)};
  __m256 sums[kRows][2];
  for (auto& row : sums) row[0] = row[1] = _mm256_setzero_ps();
  for (int i = 0; i < n; ++i, matrix += n) {
    const __m256 low = _mm256_maskload_ps(matrix, masks[0]);
    const __m256 high = _mm256_maskload_ps(matrix + kLanes, masks[1]);
    for (int r = 0; r < kRows; ++r) {
      const __m256 factor = _mm256_set1_ps(x[r][i]);
      sums[r][0] = _mm256_fmadd_ps(factor, low, sums[r][0]);
      sums[r][1] = _mm256_fmadd_ps(factor, high, sums[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_store_ps(y + r * kMaxMultiply, sums[r][0]);
    _mm256_store_ps(y + r * kMaxMultiply + kLanes, sums[r][1]);
  }
}

template <int kRows>
void MultiplyBlock(float* const* x, const float* matrix, int n) {
  alignas(32) float y[kRows * kMaxMultiply];
  for (int o = 0; o < n; o += 2 * kLanes) {
    MultiplyColumns<kRows>(x, matrix + o, n, n - o, y + o);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < n; c += kLanes) {
      _mm256_maskstore_ps(x[r] + c, TailMask(n - c), _mm256_load_ps(y + r * kMaxMultiply + c));
    }
  }
}

void MultiplyRows(float* const* x, int count, const float* matrix, int n) {
  constexpr int kBlock = 4;
  for (; count >= kBlock; count -= kBlock, x += kBlock) MultiplyBlock<kBlock>(x, matrix, n);
  for (; count > 0; --count, ++x) MultiplyBlock<1>(x, matrix, n);
}

void SiluMul(const float* gate, const float* up, int cols, float* y) {
  const __m256 one = _mm256_set1_ps(1.0f);
  for (int c = 0; c < cols; c += kLanes) {
    const __m256i mask = TailMask(cols - c);
    const __m256 g = _mm256_maskload_ps(gate + c, mask);
    const __m256 e = Exp(_mm256_sub_ps(_mm256_setzero_ps(), g));
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, e));
    _mm256_maskstore_ps(y + c, mask, _mm256_mul_ps(silu, _mm256_maskload_ps(up + c, mask)));
  }
}

}  // namespace

constinit const ElementwiseKernels kElementwiseAvx2 = {.rms_norm = RmsNorm,
                                                       .rope_angles = RopeAngles,
                                                       .rope = Rope,
                                                       .multiply_rows = MultiplyRows,
                                                       .silu_mul = SiluMul};

}  // namespace kvpareto::cpu
