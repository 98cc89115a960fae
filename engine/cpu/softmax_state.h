// The state of an online softmax over a run of keys, as a type.
#pragma once

#include <algorithm>
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

// Merges states[0], states[stride], ... and divides: their output, to out [head_dim]; zeros if none
// has seen a key. In this order, so that the result does not depend on which thread finished which
// part first.
inline void MergeStates(const SoftmaxState* states, int count, int stride, int head_dim,
                        float* out) {
  float m = states->m;
  for (int s = 1; s < count; ++s) m = std::max(m, states[s * stride].m);
  float d = 0.0f;
  for (int c = 0; c < head_dim; ++c) out[c] = 0.0f;
  for (int s = 0; s < count; ++s) {
    const SoftmaxState& state = states[s * stride];
    const float weight = RescaleFactor(state.m, m);
    d += weight * state.d;
    for (int c = 0; c < head_dim; ++c) out[c] += weight * state.o[c];
  }
  const float inverse = d > 0.0f ? 1.0f / d : 0.0f;
  for (int c = 0; c < head_dim; ++c) out[c] *= inverse;
}

}  // namespace kvpareto::cpu
