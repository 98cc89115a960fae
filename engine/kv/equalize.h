// How the members of a tile's groups are brought to one scale: what the dual-axis codec does first.
//
// After KVarN (arXiv 2606.03458): Sinkhorn-like passes that alternately divide by the standard
// deviation over the members of each group and over the groups of each member. The groups' own
// scales are fitted again afterwards by the quantizer, so only the members' factors are kept. KVarN
// takes the state after 16 passes; here the pass with the smallest predicted rounding error counts,
// which may be the first, where all factors are 1: a tile is never made worse.
#pragma once

#include "engine/base/float16.h"
#include "engine/kv/quantizer.h"

namespace kvpareto::kv {

inline constexpr int kEqualizePasses = 12;
inline constexpr int kMaxMembers = 256;
inline constexpr int kMaxGroupsEqualized = 256;

// [groups, members] values inside a tile, saturated when read.
struct GroupView {
  const float* tile = nullptr;
  int groups = 0;
  int members = 0;
  int group_stride = 0;
  int member_stride = 0;
  float at(int group, int member) const {
    return Saturate(tile[group * group_stride + member * member_stride]);
  }
};

// Sums of a sequence of values, from which their standard deviation follows.
struct Moments {
  float sum = 0.0f;
  float squares = 0.0f;
  void Add(float x) {
    sum += x;
    squares += x * x;
  }
  // 1 where there is no spread, so that it can always be divided by.
  float Deviation(int count) const {
    const float mean = sum / static_cast<float>(count);
    const float variance = squares / static_cast<float>(count) - mean * mean;
    const bool spread = variance > 1e-30f && variance > 1e-6f * mean * mean;
    return spread ? __builtin_sqrtf(variance) : 1.0f;
  }
};

// The state of the passes.
struct Equalizer {
  float factor[kMaxMembers];             // of members, their root mean square is 1
  float inverse[kMaxMembers];            // 1 / factor
  float deviation[kMaxGroupsEqualized];  // of groups, given the factors

  // Brings the factors to the root mean square 1 and within what fp16 scales can follow; no value
  // divided by its factor exceeds kMaxMagnitude. Factors are fp16 numbers.
  void Normalize(const float* largest, int members) {
    float squares = 0.0f;
    for (int m = 0; m < members; ++m) squares += factor[m] * factor[m];
    const float norm = 1.0f / __builtin_sqrtf(squares / static_cast<float>(members));
    for (int m = 0; m < members; ++m) {
      float x = factor[m] * norm;
      if (!(x > 0x1p-6f)) x = 0x1p-6f;
      if (x > 0x1p6f) x = 0x1p6f;
      if (x < largest[m] / kMaxMagnitude) x = largest[m] / kMaxMagnitude;
      factor[m] = F16ToFloat(F16RoundUp(x));
      inverse[m] = 1.0f / factor[m];
    }
  }

  // Sets `deviation`. Returns what the squared rounding error is proportional to: a group's step
  // grows with its range, a member's error with its factor.
  float MeasureGroups(const GroupView& view) {
    float ranges = 0.0f;
    for (int g = 0; g < view.groups; ++g) {
      Moments moments;
      Extremes extremes;
      for (int m = 0; m < view.members; ++m) {
        const float x = view.at(g, m) * inverse[m];
        moments.Add(x);
        extremes.min = x < extremes.min ? x : extremes.min;
        extremes.max = x > extremes.max ? x : extremes.max;
      }
      deviation[g] = moments.Deviation(view.members);
      const float range = extremes.max - extremes.min;
      ranges += range * range;
    }
    float squares = 0.0f;
    for (int m = 0; m < view.members; ++m) squares += factor[m] * factor[m];
    return ranges * squares;
  }

  void ScaleMembers(const GroupView& view) {
    float inverse_deviation[kMaxGroupsEqualized];
    for (int g = 0; g < view.groups; ++g) inverse_deviation[g] = 1.0f / deviation[g];
    for (int m = 0; m < view.members; ++m) {
      Moments moments;
      for (int g = 0; g < view.groups; ++g) {
        moments.Add(view.at(g, m) * inverse[m] * inverse_deviation[g]);
      }
      factor[m] *= moments.Deviation(view.groups);
    }
  }
};

// Sets factors [members]: positive fp16 numbers to divide the members by.
inline void EqualizeMembers(const GroupView& view, float* factors) {
  float largest[kMaxMembers];
  Equalizer state;
  for (int m = 0; m < view.members; ++m) {
    largest[m] = 0.0f;
    for (int g = 0; g < view.groups; ++g) {
      const float x = view.at(g, m);
      const float magnitude = x < 0.0f ? -x : x;
      if (magnitude > largest[m]) largest[m] = magnitude;
    }
    factors[m] = state.factor[m] = state.inverse[m] = 1.0f;
  }
  float best = state.MeasureGroups(view);
  for (int pass = 0; pass < kEqualizePasses; ++pass) {
    state.ScaleMembers(view);
    state.Normalize(largest, view.members);
    const float error = state.MeasureGroups(view);
    if (!(error < best)) continue;
    best = error;
    for (int m = 0; m < view.members; ++m) factors[m] = state.factor[m];
  }
}

}  // namespace kvpareto::kv
