// kv/equalize.h on vectors, bit for bit. A bf16 tile's lanes run along the members in both roles,
// and the first and second elements of its pairs are two groups; sums over members take the tile
// transposed, so that a lane adds in the scalar definition's order. Products that are added are
// rounded explicitly: fused, they would round otherwise. Everything is in an anonymous namespace
// (see tile_decode_avx512.h).
#pragma once

#include <cmath>

#include "engine/cpu/tile_decode_avx512.h"
#include "engine/kv/equalize.h"

namespace kvpareto::cpu {
namespace {

inline constexpr int kMaxEqualized = kv::kBlockTokens * kv::kMaxMembers;
static_assert(kv::kMaxMembers <= kMaxHeadDim && kv::kMaxGroupsEqualized >= kMaxHeadDim);

inline __m512 Rounded(__m512 a, __m512 b) {
  return _mm512_mul_round_ps(a, b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// kv::Moments of 16 sequences.
struct LaneMoments {
  __m512 sum = _mm512_setzero_ps();
  __m512 squares = _mm512_setzero_ps();

  void Add(__m512 x) {
    sum = _mm512_add_ps(sum, x);
    squares = _mm512_add_ps(squares, Rounded(x, x));
  }
  __m512 Deviation(int count) const {
    const __m512 n = _mm512_set1_ps(static_cast<float>(count));
    const __m512 mean = _mm512_div_ps(sum, n);
    const __m512 square = Rounded(mean, mean);
    const __m512 variance = _mm512_sub_ps(_mm512_div_ps(squares, n), square);
    const __mmask16 spread =
        _mm512_cmp_ps_mask(variance, _mm512_set1_ps(1e-30f), _CMP_GT_OQ) &
        _mm512_cmp_ps_mask(variance, Rounded(Rounded(_mm512_set1_ps(1e-6f), mean), mean),
                           _CMP_GT_OQ);
    return _mm512_mask_sqrt_ps(_mm512_set1_ps(1.0f), spread, variance);
  }
};

// A tile's members and groups, both multiples of 16.
class LaneEqualizer {
 public:
  LaneEqualizer(int groups, int members) : groups_(groups), members_(members) {}

  // Saturated values of groups 2 * row and 2 * row + 1, members 16 * column and on.
  void Set(int row, int column, const Pairs& values) {
    const __m512i places =
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32(groups_));
    const auto set = [&](int group, __m512 x) {
      _mm512_store_ps(by_group_ + group * members_ + 16 * column, x);
      _mm512_i32scatter_ps(by_member_ + 16 * column * groups_ + group, places, x, 4);
    };
    set(2 * row, values.first);
    set(2 * row + 1, values.second);
  }

  // As kv::EqualizeMembers.
  void Run(float* factors) {
    FindLargest();
    for (int m = 0; m < members_; ++m) factors[m] = factor_[m] = inverse_[m] = 1.0f;
    float best = MeasureGroups();
    for (int pass = 0; pass < kv::kEqualizePasses; ++pass) {
      ScaleMembers();
      Normalize();
      const float error = MeasureGroups();
      if (!(error < best)) continue;
      best = error;
      std::memcpy(factors, factor_, sizeof(float) * members_);
    }
  }

 private:
  void FindLargest() {
    for (int m = 0; m < members_; m += 16) {
      __m512 largest = _mm512_setzero_ps();
      for (int g = 0; g < groups_; ++g) {
        largest =
            _mm512_max_ps(largest, _mm512_abs_ps(_mm512_load_ps(by_group_ + g * members_ + m)));
      }
      _mm512_store_ps(largest_ + m, largest);
    }
  }

  float SumOfSquares(const float* x, int n) const {
    float sum = 0.0f;
    for (int i = 0; i < n; i += 16) {
      alignas(64) float squares[16];
      const __m512 lanes = _mm512_load_ps(x + i);
      _mm512_store_ps(squares, Rounded(lanes, lanes));
      for (const float square : squares) sum += square;
    }
    return sum;
  }

  float MeasureGroups() {
    alignas(64) float range[kv::kMaxGroupsEqualized];
    for (int g = 0; g < groups_; g += 16) {
      LaneMoments moments;
      __m512 min = _mm512_set1_ps(kv::kMaxMagnitude);
      __m512 max = _mm512_set1_ps(-kv::kMaxMagnitude);
      for (int m = 0; m < members_; ++m) {
        const __m512 x =
            Rounded(_mm512_load_ps(by_member_ + m * groups_ + g), _mm512_set1_ps(inverse_[m]));
        moments.Add(x);
        min = _mm512_min_ps(x, min);
        max = _mm512_max_ps(x, max);
      }
      _mm512_store_ps(deviation_ + g, moments.Deviation(members_));
      _mm512_store_ps(range + g, _mm512_sub_ps(max, min));
    }
    return SumOfSquares(range, groups_) * SumOfSquares(factor_, members_);
  }

  void ScaleMembers() {
    alignas(64) float inverse_deviation[kv::kMaxGroupsEqualized];
    for (int g = 0; g < groups_; g += 16) {
      _mm512_store_ps(inverse_deviation + g,
                      _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_load_ps(deviation_ + g)));
    }
    for (int m = 0; m < members_; m += 16) {
      const __m512 inverse = _mm512_load_ps(inverse_ + m);
      LaneMoments moments;
      for (int g = 0; g < groups_; ++g) {
        const __m512 x = _mm512_load_ps(by_group_ + g * members_ + m);
        moments.Add(Rounded(Rounded(x, inverse), _mm512_set1_ps(inverse_deviation[g])));
      }
      _mm512_store_ps(factor_ + m,
                      Rounded(_mm512_load_ps(factor_ + m), moments.Deviation(groups_)));
    }
  }

  void Normalize() {
    const float squares = SumOfSquares(factor_, members_);
    const __m512 norm = _mm512_set1_ps(1.0f / std::sqrt(squares / static_cast<float>(members_)));
    for (int m = 0; m < members_; m += 16) {
      __m512 x = Rounded(_mm512_load_ps(factor_ + m), norm);
      // An x that is not a number becomes the smallest.
      x = _mm512_max_ps(x, _mm512_set1_ps(0x1p-6f));
      x = _mm512_min_ps(x, _mm512_set1_ps(0x1p6f));
      x = _mm512_max_ps(
          x, _mm512_div_ps(_mm512_load_ps(largest_ + m), _mm512_set1_ps(kv::kMaxMagnitude)));
      x = _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC));
      _mm512_store_ps(factor_ + m, x);
      _mm512_store_ps(inverse_ + m, _mm512_div_ps(_mm512_set1_ps(1.0f), x));
    }
  }

  const int groups_;
  const int members_;
  alignas(64) float by_group_[kMaxEqualized];   // [groups, members]
  alignas(64) float by_member_[kMaxEqualized];  // [members, groups]
  alignas(64) float largest_[kv::kMaxMembers];
  alignas(64) float factor_[kv::kMaxMembers];
  alignas(64) float inverse_[kv::kMaxMembers];
  alignas(64) float deviation_[kv::kMaxGroupsEqualized];
};

}  // namespace
}  // namespace kvpareto::cpu
