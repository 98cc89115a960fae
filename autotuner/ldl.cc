#include "autotuner/ldl.h"

#include <algorithm>

#include "autotuner/matrix_product.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kStripe = 96;  // rows that one task changes

// One block of columns [first, last) and what its elimination changes.
class Block {
 public:
  Block(int64_t first, int threads, Matrix& a)
      : first_(first),
        last_(std::min(a.rows, first + kLdlBlock)),
        threads_(threads),
        a_(a),
        scaled_(a.rows - last_, last_ - first),
        lower_(a.rows - last_, last_ - first) {}

  bool Eliminate(float min_pivot) {
    if (!FactorDiagonal(min_pivot)) return false;
    const int stripes = static_cast<int>((a_.rows - last_ + kStripe - 1) / kStripe);
    ParallelFor(stripes, threads_, [&](int i) {
      for (int64_t r = First(i); r < End(i); ++r) SolveRow(r);
    });
    ParallelFor(stripes, threads_, [&](int i) { Update(stripes - 1 - i); });  // longest rows first
    return true;
  }

 private:
  int64_t First(int stripe) const { return last_ + stripe * kStripe; }
  int64_t End(int stripe) const { return std::min(a_.rows, First(stripe) + kStripe); }

  // v [j] = a[r][j] - sum over k < j of v[k] L[j][k]: L[r][j] d[j].
  void Reduce(int64_t r, int64_t count, double* v) const {
    for (int64_t j = 0; j < count; ++j) {
      const float* lower = a_.row(first_ + j) + first_;
      v[j] = a_.row(r)[first_ + j];
      for (int64_t k = 0; k < j; ++k) v[j] -= v[k] * lower[k];
    }
  }

  bool FactorDiagonal(float min_pivot) {
    double v[kLdlBlock];
    for (int64_t r = first_; r < last_; ++r) {
      float* row = a_.row(r) + first_;
      const int64_t before = r - first_;
      Reduce(r, before, v);
      double pivot = row[before];
      for (int64_t k = 0; k < before; ++k) {
        row[k] = static_cast<float>(v[k] / a_.row(first_ + k)[first_ + k]);
        pivot -= v[k] * row[k];
      }
      if (!(pivot >= min_pivot)) return false;
      row[before] = static_cast<float>(pivot);
    }
    return true;
  }

  void SolveRow(int64_t r) {
    double v[kLdlBlock];
    const int64_t width = last_ - first_;
    Reduce(r, width, v);
    for (int64_t j = 0; j < width; ++j) {
      const float lower = static_cast<float>(v[j] / a_.row(first_ + j)[first_ + j]);
      a_.row(r)[first_ + j] = lower;
      lower_.row(r - last_)[j] = lower;
      scaled_.row(r - last_)[j] = static_cast<float>(v[j]);
    }
  }

  // a -= L D L^T of this block's columns, left of and on the diagonal.
  void Update(int stripe) {
    const int64_t first = First(stripe), end = End(stripe), width = last_ - first_;
    const PackedRows rows(MatrixView{scaled_.row(first - last_), end - first, width});
    Matrix product(end - first, end - last_);
    MultiplyTransposed(rows, {lower_.row(0), end - last_, width}, product.values.data(), 1);
    for (int64_t r = first; r < end; ++r) {
      for (int64_t c = last_; c <= r; ++c) a_.row(r)[c] -= product.row(r - first)[c - last_];
    }
  }

  const int64_t first_, last_;
  const int threads_;
  Matrix& a_;
  Matrix scaled_, lower_;  // rows below the block: L D, L
};

}  // namespace

bool FactorLdl(float min_pivot, int threads, Matrix& a) {
  for (int64_t first = 0; first < a.rows; first += kLdlBlock) {
    if (!Block(first, threads, a).Eliminate(min_pivot)) return false;
  }
  return true;
}

}  // namespace kvpareto::tune
