// Small helpers on vectors of 8 floats, for *_avx2.cc only. Everything is in an anonymous
// namespace, so that no copy compiled for another instruction set can replace it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kvpareto::cpu {
namespace {

inline constexpr int kLanes = 8;

// The first `count` lanes.
[[maybe_unused]] inline __m256i TailMask(int count) {
  alignas(32) static constexpr int32_t kOnes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  const int first = count >= kLanes ? 0 : count <= 0 ? kLanes : kLanes - count;
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes + first));
}

[[maybe_unused]] inline __m256i LoadInts(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

[[maybe_unused]] inline __m128i LoadHalf(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

// Keeps the compiler from fusing a product with the sum that it goes into, where the scalar
// definition rounds twice.
[[maybe_unused]] inline __m256 Rounded(__m256 x) {
  asm("" : "+x"(x));
  return x;
}

[[maybe_unused]] inline float ReduceAdd(__m256 x) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

[[maybe_unused]] inline float ReduceMax(__m256 x) {
  __m128 max = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  max = _mm_max_ps(max, _mm_movehl_ps(max, max));
  return _mm_cvtss_f32(_mm_max_ss(max, _mm_movehdup_ps(max)));
}

[[maybe_unused]] inline float ReduceMin(__m256 x) {
  __m128 min = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  min = _mm_min_ps(min, _mm_movehl_ps(min, min));
  return _mm_cvtss_f32(_mm_min_ss(min, _mm_movehdup_ps(min)));
}

}  // namespace
}  // namespace kvpareto::cpu
