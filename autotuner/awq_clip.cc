#include "autotuner/awq_clip.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autotuner/awq_groups.h"
#include "autotuner/matrix_product.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

constexpr int kSteps = 20, kTried = 10;

// sum over tokens of weight * x x^T for columns [first, first + size): the weighted squared error
// of a change d of weights is d^T (this) d.
Matrix Gram(MatrixView x, const std::vector<float>& token_weights, int64_t first, int size) {
  Matrix columns(size, x.rows);
  for (int64_t t = 0; t < x.rows; ++t) {
    const float factor = std::sqrt(token_weights[t]);
    for (int i = 0; i < size; ++i) columns.row(i)[t] = factor * x.row(t)[first + i];
  }
  Matrix gram(size, size);
  MultiplyTransposed(PackedRows(columns.view()), columns.view(), gram.values.data(), 1);
  return gram;
}

// One group of columns of all rows.
class GroupClip {
 public:
  GroupClip(MatrixView x, const std::vector<float>& token_weights, int64_t first, int size,
            Matrix& w)
      : gram_(Gram(x, token_weights, first, size).view()),
        first_(first),
        size_(size),
        w_(w),
        change_(w.rows, size),
        product_(size, w.rows) {}

  void Run() {
    std::vector<float> largest(w_.rows), limit(w_.rows);
    std::vector<float> smallest(w_.rows, std::numeric_limits<float>::infinity());
    for (int64_t r = 0; r < w_.rows; ++r) {
      for (int i = 0; i < size_; ++i) largest[r] = std::max(largest[r], std::abs(group(r)[i]));
    }
    for (int step = 0; step < kTried; ++step) {
      const float factor = 1.0f - static_cast<float>(step) / kSteps;
      const std::vector<float> errors = ErrorsAt(factor, largest);
      for (int64_t r = 0; r < w_.rows; ++r) {
        if (!(errors[r] < smallest[r])) continue;
        smallest[r] = errors[r];
        limit[r] = largest[r] * factor;
      }
    }
    for (int64_t r = 0; r < w_.rows; ++r) {
      for (int i = 0; i < size_; ++i) group(r)[i] = std::clamp(group(r)[i], -limit[r], limit[r]);
    }
  }

 private:
  float* group(int64_t r) { return w_.row(r) + first_; }

  // By row, of the weights clamped to +-factor * largest and rounded.
  std::vector<float> ErrorsAt(float factor, const std::vector<float>& largest) {
    for (int64_t r = 0; r < w_.rows; ++r) {
      const float limit = largest[r] * factor;
      float* change = change_.row(r);
      for (int i = 0; i < size_; ++i) change[i] = std::clamp(group(r)[i], -limit, limit);
      RoundToGroups(size_, change, size_);
      for (int i = 0; i < size_; ++i) change[i] -= group(r)[i];
    }
    MultiplyTransposed(gram_, change_.view(), product_.values.data(), 1);
    std::vector<float> errors(w_.rows);
    for (int i = 0; i < size_; ++i) {
      for (int64_t r = 0; r < w_.rows; ++r) errors[r] += change_.row(r)[i] * product_.row(i)[r];
    }
    return errors;
  }

  const PackedRows gram_;
  const int64_t first_;
  const int size_;
  Matrix& w_;
  Matrix change_;   // [rows, size]
  Matrix product_;  // [size, rows]
};

}  // namespace

void ClipGroups(MatrixView x, const std::vector<float>& token_weights, int group_size, int threads,
                Matrix& w) {
  ParallelFor(static_cast<int>(w.cols / group_size), threads, [&](int group) {
    GroupClip(x, token_weights, int64_t{group} * group_size, group_size, w).Run();
  });
}

}  // namespace kvpareto::tune
