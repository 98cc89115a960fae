// The matrices and offsets of transforms, for every instruction set, against double precision.
#include "engine/cpu/transform_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/cpu/attention_step.h"

namespace kvpareto::cpu {
namespace {

std::vector<float> Normal(size_t size, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& x : values) x = normal(rng);
  return values;
}

// Every size of head, and counts of vectors that end in every remainder of a block. Guards around
// each vector must stay.
TEST(MultiplyRowsTest, MatchesDoublePrecision) {
  constexpr float kGuard = 12345.0f;
  for (Isa isa : AvailableIsas()) {
    const ElementwiseKernels& kernels = ElementwiseFor(isa);
    for (int n : {2, 16, 24, 64, 72, 80, 96, 112, 128, 192, 256}) {
      const std::vector<float> matrix = Normal(static_cast<size_t>(n) * n, n);
      for (int count : {1, 2, 3, 5, 6, 7, 13}) {
        SCOPED_TRACE(testing::Message() << Name(isa) << " n " << n << " count " << count);
        const std::vector<float> from = Normal(static_cast<size_t>(n) * count, n + count);
        const int stride = n + 16;
        std::vector<float> memory(static_cast<size_t>(stride) * count + 16, kGuard);
        std::vector<float*> x(count);
        for (int v = 0; v < count; ++v) {
          x[v] = memory.data() + 16 + v * stride;
          std::copy_n(from.data() + v * n, n, x[v]);
        }
        kernels.multiply_rows(x.data(), count, matrix.data(), n);
        for (int v = 0; v < count; ++v) {
          for (int o = 0; o < n; ++o) {
            double sum = 0.0, squares = 0.0;
            for (int i = 0; i < n; ++i) {
              const double term = double{from[v * n + i]} * matrix[static_cast<size_t>(i) * n + o];
              sum += term;
              squares += term * term;
            }
            // n roundings of partial sums, independent: five standard deviations.
            const double tolerance = 5.0 * 0x1p-24 * std::sqrt(n * squares);
            ASSERT_NEAR(x[v][o], sum, tolerance) << v << " " << o;
          }
          for (int i = 1; i <= 16; ++i) ASSERT_EQ(x[v][-i], kGuard);
          for (int i = 0; i < 16 && v + 1 < count; ++i) ASSERT_EQ(x[v][n + i], kGuard);
        }
      }
    }
  }
}

// Queries, keys, values and outputs of one layer with every transform.
class Layer {
 public:
  static constexpr int kHeads = 6, kKvHeads = 2, kHeadDim = 80, kColumns = (kHeads + 4) * kHeadDim;

  explicit Layer(int rows)
      : qkv_(Normal(static_cast<size_t>(rows) * kColumns, 1)),
        out_(Normal(static_cast<size_t>(rows) * kHeads * kHeadDim, 2)),
        bias_query_(out_.size()),
        matrices_(Normal(size_t{4} * kKvHeads * kHeadDim * kHeadDim, 3)),
        vectors_(Normal(size_t{3} * kKvHeads * kHeadDim, 4)) {
    for (int i = 0; i < kHeadDim / 2; ++i) {
      frequencies_.push_back(std::pow(1e4f, -2.0f * static_cast<float>(i) / kHeadDim));
    }
    const size_t squares = size_t{kKvHeads} * kHeadDim * kHeadDim;
    constexpr int kAll = kKvHeads * kHeadDim;
    transform_ = {.key_bias = vectors_.data(),
                  .key_center = vectors_.data() + kAll,
                  .key_matrix = matrices_.data(),
                  .query_matrix = matrices_.data() + squares,
                  .value_center = vectors_.data() + 2 * kAll,
                  .value_matrix = matrices_.data() + 2 * squares,
                  .output_matrix = matrices_.data() + 3 * squares};
  }

  void Run(Isa isa, int first, int count) {
    std::vector<TransformRow> rows;
    std::vector<float*> outputs;
    for (int i = first; i < first + count; ++i) {
      float* q = qkv_.data() + static_cast<size_t>(i) * kColumns;
      outputs.push_back(out_.data() + static_cast<size_t>(i) * kHeads * kHeadDim);
      rows.push_back({.q = q,
                      .k = q + kHeads * kHeadDim,
                      .v = q + (kHeads + kKvHeads) * kHeadDim,
                      .bias_query = &bias_query_[static_cast<size_t>(i) * kHeads * kHeadDim],
                      .position = 100 * i});
    }
    TransformKvRows(ElementwiseFor(isa), transform_,
                    {.heads = kHeads,
                     .kv_heads = kKvHeads,
                     .head_dim = kHeadDim,
                     .inverse_frequency = frequencies_},
                    rows);
    TransformOutputRows(ElementwiseFor(isa), transform_,
                        {.heads = kHeads, .kv_heads = kKvHeads, .head_dim = kHeadDim}, outputs);
  }

  std::vector<float> All() const {
    std::vector<float> all(qkv_);
    all.insert(all.end(), out_.begin(), out_.end());
    all.insert(all.end(), bias_query_.begin(), bias_query_.end());
    return all;
  }

 private:
  std::vector<float> qkv_, out_, bias_query_, matrices_, vectors_, frequencies_;
  LayerTransform transform_;
};

TEST(TransformRowsTest, ARowDoesNotDependOnTheOthers) {
  for (Isa isa : AvailableIsas()) {
    Layer together(8), alone(8);
    together.Run(isa, 0, 8);
    for (int row = 0; row < 8; ++row) alone.Run(isa, row, 1);
    EXPECT_EQ(together.All(), alone.All()) << Name(isa);
  }
}

TEST(TransformRowsTest, FastKernelsMatchTheScalarOnes) {
  Layer scalar(3);
  scalar.Run(Isa::kScalar, 0, 3);
  const std::vector<float> want = scalar.All();
  for (Isa isa : AvailableIsas()) {
    Layer fast(3);
    fast.Run(isa, 0, 3);
    const std::vector<float> got = fast.All();
    // Sums of 80 products of size 1, twice rounded.
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 2 * 5.0 * 0x1p-24 * 80 * 3) << Name(isa) << " " << i;
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
