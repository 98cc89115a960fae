// Rounding with error compensation: what rounding one column of weights does to a layer's output is
// made good, as far as may be, by the columns that are not rounded yet.
// Algorithm: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers", ICLR 2023 (arXiv 2210.17323), in the form that Chee et al., "QuIP" (arXiv
// 2307.13304, theorem 6) prove equal to it: with H = L D L^T, L unit lower triangular, and E = w -
// rounded w, column j of (w - q) L is w_j - q_j + sum over k > j of E_k L_kj, so the best q_j is
// w_j + that sum, rounded. Columns go from the last to the first; no inverse of H is needed. The
// last are those of the largest inputs, whose errors the most others make good (GPTQ's "act order";
// groups keep their columns, so that a checkpoint says nothing of it).
#pragma once

#include <vector>

#include "autotuner/awq_groups.h"
#include "autotuner/hessian.h"
#include "autotuner/matrix_product.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// L of a Hessian, for any number of matrices with these inputs.
class ErrorFeedback {
 public:
  // L of H + 0.01 * (mean of H's diagonal) * I. Inputs that are always 0, and all of them when H is
  // 0, get no feedback: they are rounded to the nearest. Errors: OUT_OF_RANGE
  // (ACTIVATION_NOT_FINITE) for an H that has overflown.
  static absl::StatusOr<ErrorFeedback> Create(const Hessian& hessian, int threads);

  // Columns [first, end) of H in the order in which they are rounded.
  struct Block {
    int64_t first = 0, end = 0;
    Matrix within;       // L of these columns, [end - first, end - first], 0 above the diagonal
    PackedRows earlier;  // L[first..end)[c] of columns c < first, [first, end - first]
  };
  const std::vector<Block>& blocks() const { return blocks_; }
  // The input that a column of L stands for.
  const std::vector<int64_t>& inputs() const { return inputs_; }

 private:
  std::vector<Block> blocks_;
  std::vector<int64_t> inputs_;
};

// Sets codes.codes of w [out, in] to what the groups of `codes` can hold of it, with compensation.
// The result does not depend on the number of threads (0: one per core).
void RoundWithFeedback(const Matrix& w, const ErrorFeedback& feedback, int threads,
                       GroupCodes& codes);

}  // namespace kvpareto::tune
