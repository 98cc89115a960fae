// Observed layers without an engine: random vectors of a known distribution, with a RoPE'd key
// bias.
#pragma once

#include <cmath>
#include <vector>

#include "autotuner/roped_bias.h"
#include "engine/engine.h"
#include "tests/support/random.h"

namespace kvpareto::tune {

// One layer, head_dim 32, 4 query heads, 2 KV heads.
inline ModelConfig SyntheticModel() {
  ModelConfig model;
  model.layers = 1;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 32;
  model.context_tokens = 4096;
  model.inverse_frequency = RopeInverseFrequency(10000.0, 32);
  return model;
}

inline std::vector<float> RandomFloats(size_t count, float mean, float sigma, uint64_t seed) {
  support::Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = mean + sigma * random.Gauss();
  return values;
}

// RoPE_p(b) by complex multiplication in double: (b_i + j b_{i + n/2}) e^{j angle}.
inline std::vector<double> RopedReference(const float* bias, const ModelConfig& model, int64_t p) {
  const int pairs = model.head_dim / 2;
  std::vector<double> result(model.head_dim);
  for (int i = 0; i < pairs; ++i) {
    const double angle = static_cast<float>(p) * model.inverse_frequency[i];
    const double a = bias[i], b = bias[i + pairs];
    result[i] = a * std::cos(angle) - b * std::sin(angle);
    result[i + pairs] = b * std::cos(angle) + a * std::sin(angle);
  }
  return result;
}

struct SyntheticLayer {
  // Keys are `unbiased` + RoPE_p(bias), bias [kv_heads, head_dim] or empty.
  SyntheticLayer(const ModelConfig& model, int rows, const std::vector<float>& bias,
                 uint64_t seed = 1)
      : model(model),
        rows(rows),
        q(RandomFloats(size_t(rows) * model.heads * model.head_dim, 0.0f, 2.0f, seed)),
        unbiased(
            RandomFloats(size_t(rows) * model.kv_heads * model.head_dim, 0.5f, 1.0f, seed + 1)),
        v(RandomFloats(unbiased.size(), -0.25f, 0.5f, seed + 2)) {
    k = unbiased;
    const int d = model.head_dim;
    for (int p = 0; p < rows && !bias.empty(); ++p) {
      for (int h = 0; h < model.kv_heads; ++h) {
        const std::vector<double> roped = RopedReference(bias.data() + h * d, model, p);
        for (int c = 0; c < d; ++c) {
          float& key = k[(size_t(p) * model.kv_heads + h) * d + c];
          key = static_cast<float>(key + roped[c]);
        }
      }
    }
  }

  // Calls observe for consecutive steps of at most `step` rows.
  template <typename Observe>
  void Show(int step, const Observe& observe) const {
    for (int first = 0; first < rows; first += step) {
      const size_t n = std::min(step, rows - first);
      const size_t q_cols = size_t(model.heads) * model.head_dim;
      const size_t cols = size_t(model.kv_heads) * model.head_dim;
      observe(LayerObservation{.layer = 0,
                               .first_position = first,
                               .rows = static_cast<int>(n),
                               .q = {q.data() + first * q_cols, n * q_cols},
                               .k = {k.data() + first * cols, n * cols},
                               .v = {v.data() + first * cols, n * cols}});
    }
  }

  ModelConfig model;
  int rows;
  std::vector<float> q, unbiased, v, k;
};

}  // namespace kvpareto::tune
