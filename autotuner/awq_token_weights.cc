#include "autotuner/awq_token_weights.h"

#include <algorithm>

namespace kvpareto::tune {

std::vector<float> TokenWeights(MatrixView y) {
  std::vector<double> squares(y.rows);
  for (int64_t t = 0; t < y.rows; ++t) {
    for (int64_t c = 0; c < y.cols; ++c) squares[t] += double{y.row(t)[c]} * y.row(t)[c];
  }
  std::vector<double> sorted = squares;
  const auto median = sorted.begin() + std::ssize(sorted) / 2;
  std::nth_element(sorted.begin(), median, sorted.end());
  std::vector<float> weights(y.rows, 1.0f);
  for (int64_t t = 0; t < y.rows; ++t) {
    const double size = squares[t] + *median;
    if (size > 0.0) weights[t] = static_cast<float>(1.0 / size);
  }
  return weights;
}

}  // namespace kvpareto::tune
