// The state of an online softmax over a run of keys, as a type.
#pragma once

#include <cmath>
#include <limits>

namespace kvpareto::cpu {

// One query row's running softmax: m = the largest score so far, d = sum of exp(score - m), and
// o[c] = sum of exp(score - m) * value[c], the not yet divided output. States over disjoint runs
// of keys merge into the state over their union (Milakov & Gimelshein 2018; Dao et al. 2022).
struct SoftmaxState {
  float m = -std::numeric_limits<float>::infinity();
  float d = 0.0f;
  float* o = nullptr;  // [head_dim], owned by the caller
};

// A scale of 0 for a state that has seen nothing keeps (-inf) - (-inf) out of the exponent.
inline float RescaleFactor(float from_m, float to_m) {
  return from_m == to_m ? 1.0f : std::exp(from_m - to_m);
}

// Folds `other` into `state`. Merging in a fixed order makes the result independent of which thread
// finished which part first.
inline void Merge(SoftmaxState& state, const SoftmaxState& other, int head_dim) {
  const float m = state.m > other.m ? state.m : other.m;
  const float keep = RescaleFactor(state.m, m);
  const float take = RescaleFactor(other.m, m);
  state.m = m;
  state.d = state.d * keep + other.d * take;
  for (int c = 0; c < head_dim; ++c) state.o[c] = state.o[c] * keep + other.o[c] * take;
}

}  // namespace kvpareto::cpu
