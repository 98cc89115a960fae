#include "autotuner/roped_bias.h"

#include <cmath>

namespace kvpareto::tune {

void RopedBias::SetPositions(int64_t first, int count) {
  if (first == first_ && count == cosine_.rows()) return;
  const int pairs = static_cast<int>(inverse_frequency_.size());
  first_ = first;
  cosine_.resize(count, pairs);
  sine_.resize(count, pairs);
  for (int r = 0; r < count; ++r) {
    for (int i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(first + r) * inverse_frequency_[i];
      cosine_(r, i) = std::cos(angle);
      sine_(r, i) = std::sin(angle);
    }
  }
}

void RopedBias::Subtract(std::span<const float> bias, RowMatrix& rows) const {
  const int pairs = static_cast<int>(inverse_frequency_.size());
  for (int r = 0; r < rows.rows(); ++r) {
    for (int i = 0; i < pairs; ++i) {
      const float first = bias[i], second = bias[i + pairs];
      rows(r, i) -= first * cosine_(r, i) - second * sine_(r, i);
      rows(r, i + pairs) -= second * cosine_(r, i) + first * sine_(r, i);
    }
  }
}

}  // namespace kvpareto::tune
