#include "autotuner/awq_residual.h"

#include <algorithm>
#include <functional>

namespace kvpareto::tune {

absl::StatusOr<AwqResidual> AwqResidual::Embed(const ModelFiles& files,
                                               const std::vector<std::vector<int32_t>>& samples) {
  Matrix x(0, files.config().hidden);
  for (const auto& sample : samples) {
    for (const int32_t token : sample) {
      KVP_ASSIGN_OR_RETURN(const std::vector<float> row,
                           files.ReadRows("token_embd.weight", token, 1));
      x.values.insert(x.values.end(), row.begin(), row.end());
      ++x.rows;
    }
  }
  return AwqResidual(std::move(x));
}

void AwqResidual::Add(const Matrix& y) {
  std::transform(x_.values.begin(), x_.values.end(), y.values.begin(), x_.values.begin(),
                 std::plus<>());
}

std::vector<float> AwqResidual::Weights() const {
  std::vector<float> weights(x_.rows, 1.0f);
  for (int64_t t = 0; t < x_.rows; ++t) {
    double square = 0.0;
    for (int64_t c = 0; c < x_.cols; ++c) square += double{x_.row(t)[c]} * x_.row(t)[c];
    if (square > 0.0) weights[t] = static_cast<float>(1.0 / square);
  }
  return weights;
}

}  // namespace kvpareto::tune
