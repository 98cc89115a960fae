// Second moments of a linear layer's inputs: what an error of its weights costs in its output.
#pragma once

#include <vector>

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// H = sum over tokens t of weight_t x_t x_t^T, [in, in]: the weighted square error of the output
// under a change d [in] of the weights of one output feature is d^T H d.
class Hessian {
 public:
  Hessian() = default;
  explicit Hessian(int64_t inputs) : lower_(inputs, inputs) {}

  // Tokens x [tokens, in]. token_weights [tokens], not negative; empty: all 1. The result does not
  // depend on the number of threads (0: one per core).
  void Add(MatrixView x, const std::vector<float>& token_weights, int threads);

  // What Add would have made of x / scales, scales [in].
  void DivideInputs(const std::vector<float>& scales);

  // [in, in]; zeros above the diagonal.
  const Matrix& lower() const { return lower_; }

 private:
  Matrix lower_;
};

}  // namespace kvpareto::tune
