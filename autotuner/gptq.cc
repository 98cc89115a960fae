#include "autotuner/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autotuner/ldl.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

constexpr double kDamping = 0.01;
constexpr double kSmallestMean = 1e-30;  // below it, inputs are as good as 0
constexpr int kOutputs = 32;             // of one task: a vector or two of any instruction set

// Of the diagonal; of a matrix of zeros, 1.
double MeanDiagonal(const Matrix& h) {
  double sum = 0.0;
  for (int64_t i = 0; i < h.rows; ++i) sum += h.row(i)[i];
  const double mean = sum / static_cast<double>(h.rows);
  return mean < kSmallestMean ? 1.0 : mean;
}

// Rows of the lower half, by the diagonal, smallest first.
std::vector<int64_t> OrderByDiagonal(const Matrix& h) {
  std::vector<int64_t> order(h.rows);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) { return h.row(a)[a] < h.row(b)[b]; });
  return order;
}

// The lower half with rows and columns in another order.
Matrix Reorder(const Matrix& h, const std::vector<int64_t>& order) {
  Matrix to(h.rows, h.cols);
  for (int64_t r = 0; r < h.rows; ++r) {
    for (int64_t c = 0; c <= r; ++c) {
      to.row(r)[c] = h.row(std::max(order[r], order[c]))[std::min(order[r], order[c])];
    }
  }
  return to;
}

// Rounds kOutputs rows of w at once; a column of them is kOutputs floats.
class Outputs {
 public:
  Outputs(const Matrix& w, const std::vector<int64_t>& inputs, int64_t first, GroupCodes& codes)
      : w_(w),
        inputs_(inputs),
        codes_(codes),
        first_(first),
        count_(static_cast<int>(std::min<int64_t>(kOutputs, w.rows - first))),
        groups_(codes.cols / codes.group_size),
        targets_(w.cols, kOutputs),
        scales_(groups_, kOutputs),
        zeros_(groups_, kOutputs) {
    std::fill(scales_.values.begin(), scales_.values.end(), 1.0f);  // of outputs that are not there
    for (int o = 0; o < count_; ++o) {
      for (int64_t c = 0; c < w.cols; ++c) targets_.row(c)[o] = w.row(first + o)[inputs[c]];
      for (int64_t g = 0; g < groups_; ++g) {
        const GroupScale group = codes.group(first + o, g);
        scales_.row(g)[o] = group.scale;
        zeros_.row(g)[o] = group.zero;
      }
    }
  }

  void Round(const ErrorFeedback::Block& block) {
    change_ = Matrix(kOutputs, block.end - block.first);
    for (int64_t c = block.end; c-- > block.first;) RoundColumn(block, c);
    Matrix feedback(block.first, kOutputs);
    MultiplyTransposed(block.earlier, change_.view(), feedback.values.data(), 1);
    for (size_t i = 0; i < feedback.values.size(); ++i) targets_.values[i] += feedback.values[i];
  }

 private:
  void RoundColumn(const ErrorFeedback::Block& block, int64_t column) {
    const int64_t input = inputs_[column], g = input / codes_.group_size;
    const int64_t at = column - block.first;
    const float *scale = scales_.row(g), *zero = zeros_.row(g), *target = targets_.row(column);
    float code[kOutputs], change[kOutputs] = {};
    for (int o = 0; o < kOutputs; ++o) code[o] = CodeOf(target[o], {scale[o], zero[o]});
    for (int o = 0; o < count_; ++o) {
      codes_.codes[(first_ + o) * codes_.cols + input] = static_cast<uint8_t>(code[o]);
      change[o] = w_.row(first_ + o)[input] - scale[o] * (code[o] - zero[o]);
      change_.row(o)[at] = change[o];
    }
    for (int64_t c = 0; c < at; ++c) {
      const float factor = block.within.row(at)[c];
      float* earlier = targets_.row(block.first + c);
      for (int o = 0; o < kOutputs; ++o) earlier[o] += factor * change[o];
    }
  }

  const Matrix& w_;
  const std::vector<int64_t>& inputs_;
  GroupCodes& codes_;
  const int64_t first_;
  const int count_;
  const int64_t groups_;
  Matrix targets_;         // [in, outputs], in L's order: weights and the feedback on them
  Matrix scales_, zeros_;  // [groups, outputs]
  Matrix change_;          // [outputs, in of a block]: of weights by rounding
};

}  // namespace

absl::StatusOr<ErrorFeedback> ErrorFeedback::Create(const Hessian& hessian, int threads) {
  ErrorFeedback feedback;
  feedback.inputs_ = OrderByDiagonal(hessian.lower());
  Matrix factor = Reorder(hessian.lower(), feedback.inputs_);
  const float added = static_cast<float>(kDamping * MeanDiagonal(factor));
  for (int64_t i = 0; i < factor.rows; ++i) factor.row(i)[i] += added;
  // In exact arithmetic no pivot is below what was added.
  if (!std::isfinite(added) || !FactorLdl(1e-3f * added, threads, factor)) {
    return MakeError(absl::StatusCode::kOutOfRange, "ACTIVATION_NOT_FINITE",
                     "squares of a layer's inputs overflow");
  }
  const int64_t blocks = (factor.rows + kLdlBlock - 1) / kLdlBlock;
  for (int64_t b = blocks; b-- > 0;) {
    const int64_t first = b * kLdlBlock, end = std::min(factor.rows, first + kLdlBlock);
    Matrix within(end - first, end - first), earlier(first, end - first);
    for (int64_t r = first; r < end; ++r) {
      std::copy(factor.row(r) + first, factor.row(r) + r, within.row(r - first));
      for (int64_t c = 0; c < first; ++c) earlier.row(c)[r - first] = factor.row(r)[c];
    }
    feedback.blocks_.push_back({first, end, std::move(within), PackedRows(earlier.view())});
  }
  return feedback;
}

void RoundWithFeedback(const Matrix& w, const ErrorFeedback& feedback, int threads,
                       GroupCodes& codes) {
  const int tasks = static_cast<int>((w.rows + kOutputs - 1) / kOutputs);
  ParallelFor(tasks, threads, [&](int task) {
    Outputs outputs(w, feedback.inputs(), int64_t{task} * kOutputs, codes);
    for (const ErrorFeedback::Block& block : feedback.blocks()) outputs.Round(block);
  });
}

}  // namespace kvpareto::tune
