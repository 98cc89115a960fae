// Linear layers against double precision over the decoded weights.
#include <algorithm>
#include <cmath>

#include "tests/cpu/random_awq.h"
#include "tests/cuda/cuda_fixture.h"

namespace kvpareto::cuda {
namespace {

using cpu::RandomTensor;

struct Expected {
  double value = 0.0;
  double magnitude = 0.0;     // sum of |x w|
  double root_squares = 0.0;  // root of the sum of (x w)^2
};
Expected Product(const float* x, const float* w, int cols) {
  Expected e;
  for (int c = 0; c < cols; ++c) {
    const double term = double{x[c]} * w[c];
    e.value += term;
    e.magnitude += std::abs(term);
    e.root_squares += term * term;
  }
  e.root_squares = std::sqrt(e.root_squares);
  return e;
}

// Six standard deviations of roundings to bf16 that are independent from term to term: of x in
// decode, of x and w in prefill. Sums: float, up to 256 times the magnitude of the terms in decode
// (codes stand above 128 there), a rounding per 16 terms and group.
double Tolerance(const Expected& e, int cols, bool prefill) {
  const double rounding = 6.0 / std::sqrt(3.0) * 0x1p-8 * (prefill ? std::sqrt(2.0) : 1.0);
  return rounding * e.root_squares + 64.0 * std::sqrt(cols) * 0x1p-24 * e.magnitude;
}

struct Case {
  int decode_rows;
  int prefill_rows;
};

class LinearTest : public CudaTest {
 protected:
  void Check(const std::vector<RandomTensor>& stacked, Case rows, bool bias, bool accumulate) {
    std::vector<TensorView> views;
    std::vector<float> w;
    for (const RandomTensor& tensor : stacked) {
      views.push_back(tensor.view);
      const std::vector<float> part = tensor.Decode();
      w.insert(w.end(), part.begin(), part.end());
    }
    const int cols = static_cast<int>(views[0].cols());
    const int outputs = static_cast<int>(w.size()) / cols;
    auto weight = Gpu()->LoadWeight(views);
    ASSERT_TRUE(weight.ok()) << weight.status();
    const std::vector<float> bias_values = RandomFloats(outputs, 9);
    const TensorView bias_view{.name = "bias",
                               .type = TensorType::kF32,
                               .shape = {outputs},
                               .data = std::as_bytes(std::span(bias_values)),
                               .interleaved_head_dim = 0};
    const auto bias_weight = *Gpu()->LoadWeight({&bias_view, 1});
    const int total = rows.decode_rows + rows.prefill_rows;
    const std::vector<float> x = RandomFloats(size_t(total) * cols, 10);
    const std::vector<float> before =
        accumulate ? RandomFloats(size_t(total) * outputs, 11)
                   : std::vector<float>(size_t(total) * outputs, std::nanf(""));
    Matrix gpu_x(*Gpu(), x, cols), gpu_y(*Gpu(), before, outputs);
    Gpu()->Linear({.x = gpu_x.view(),
                   .weight = weight->get(),
                   .bias = bias ? bias_weight.get() : nullptr,
                   .y = gpu_y.view(),
                   .split = {rows.decode_rows, rows.prefill_rows},
                   .accumulate = accumulate});
    const std::vector<float> y = gpu_y.Read();
    for (int m = 0; m < total; ++m) {
      for (int n = 0; n < outputs; ++n) {
        const size_t i = size_t(m) * outputs + n;
        const Expected e = Product(&x[size_t(m) * cols], &w[size_t(n) * cols], cols);
        const double want =
            e.value + (bias ? bias_values[n] : 0.0) + (accumulate ? before[i] : 0.0);
        ASSERT_NEAR(y[i], want, Tolerance(e, cols, m >= rows.decode_rows) + 1e-6 * std::abs(want))
            << "row " << m << " output " << n;
      }
    }
  }

  // Against double precision; stacked matrices of one form, which become one, and of two, which
  // stay apart.
  void CheckProject(Case rows) {
    constexpr int kCols = 4352, kFfn = 48;
    constexpr float kEpsilon = 1e-5f;
    for (const TensorType up_type : {TensorType::kQ4_0, TensorType::kQ8_0}) {
      const RandomTensor gate = cpu::MakeRandomTensor(TensorType::kQ4_0, kFfn, kCols, 8);
      const RandomTensor up = cpu::MakeRandomTensor(up_type, kFfn, kCols, 9);
      const TensorView views[] = {gate.view, up.view};
      const auto weight = *Gpu()->LoadWeight(views);
      const std::vector<float> gate_w = gate.Decode(), up_w = up.Decode();
      const std::vector<float> norm = RandomFloats(kCols, 13);
      const TensorView norm_view{.name = "norm",
                                 .type = TensorType::kF32,
                                 .shape = {kCols},
                                 .data = std::as_bytes(std::span(norm)),
                                 .interleaved_head_dim = 0};
      const auto norm_weight = *Gpu()->LoadWeight({&norm_view, 1});
      const int total = rows.decode_rows + rows.prefill_rows;
      SCOPED_TRACE(testing::Message() << total << " rows");
      const std::vector<float> x = RandomFloats(size_t(total) * kCols, 14, 3.0f);
      const std::vector<float> poison(size_t(total) * 2 * kFfn, std::nanf(""));
      Matrix gpu_x(*Gpu(), x, kCols), normed(*Gpu(), x, kCols), y(*Gpu(), poison, 2 * kFfn);
      Matrix product(*Gpu(), std::span(poison).first(size_t(total) * kFfn), kFfn);
      Gpu()->Project({.norm = {.x = gpu_x.view(),
                               .weight = norm_weight.get(),
                               .y = normed.view(),
                               .epsilon = kEpsilon},
                      .linear = {.x = normed.view(),
                                 .weight = weight.get(),
                                 .y = y.view(),
                                 .split = {rows.decode_rows, rows.prefill_rows}},
                      .product = product.view()});
      const std::vector<float> got = product.Read();
      for (int m = 0; m < total; ++m) {
        std::vector<float> row(x.begin() + size_t(m) * kCols, x.begin() + size_t(m + 1) * kCols);
        double squares = 0.0;
        for (const float v : row) squares += double{v} * v;
        const double scale = 1.0 / std::sqrt(squares / kCols + kEpsilon);
        for (int c = 0; c < kCols; ++c) row[c] = static_cast<float>(row[c] * scale * norm[c]);
        for (int n = 0; n < kFfn; ++n) {
          const Expected g = Product(row.data(), &gate_w[size_t(n) * kCols], kCols);
          const Expected u = Product(row.data(), &up_w[size_t(n) * kCols], kCols);
          const double silu = g.value / (1.0 + std::exp(-g.value));
          const bool prefill = m >= rows.decode_rows;
          const double off_g = Tolerance(g, kCols, prefill), off_u = Tolerance(u, kCols, prefill);
          // The slope of SiLU is below 1.1.
          const double tolerance = 1.1 * off_g * (std::abs(u.value) + off_u) +
                                   std::abs(silu) * off_u + 1e-6 * std::abs(silu * u.value);
          ASSERT_NEAR(got[size_t(m) * kFfn + n], silu * u.value, tolerance)
              << "row " << m << " output " << n;
        }
      }
    }
  }

  static RandomTensor Tensor(TensorType type, uint32_t seed) {
    constexpr int kRows = 72;
    if (type == TensorType::kAwq4) return cpu::MakeRandomAwq(kRows, 768, seed);
    return cpu::MakeRandomTensor(type, kRows, cpu::IsFloat(type) ? 200 : 768, seed);
  }
};

TEST_F(LinearTest, DecodeEveryFormatAndRowCount) {
  for (const TensorType type : cpu::AllTypesAndAwq()) {
    const RandomTensor tensor = Tensor(type, 1);
    for (const int rows : {1, 2, 8, 9, 16, 17, 33, 64, 65}) {
      SCOPED_TRACE(testing::Message() << GetTensorTypeInfo(type).name << " rows " << rows);
      ASSERT_NO_FATAL_FAILURE(Check({tensor}, {rows, 0}, false, false));
    }
  }
}

TEST_F(LinearTest, PrefillEveryFormat) {
  for (const TensorType type : cpu::AllTypesAndAwq()) {
    const RandomTensor tensor = Tensor(type, 2);
    for (const int rows : {1, 7, 130}) {
      SCOPED_TRACE(testing::Message() << GetTensorTypeInfo(type).name << " rows " << rows);
      ASSERT_NO_FATAL_FAILURE(Check({tensor}, {0, rows}, false, false));
    }
  }
}

// AWQ's groups of 128, 64 and 32 columns, alone and stacked into one matrix.
TEST_F(LinearTest, AwqGroups) {
  for (const int cols : {1024, 192, 160}) {
    SCOPED_TRACE(cols);
    std::vector<RandomTensor> stacked;
    stacked.push_back(cpu::MakeRandomAwq(64, cols, 21));
    ASSERT_NO_FATAL_FAILURE(Check(stacked, {1, 3}, true, false));
    stacked.push_back(cpu::MakeRandomAwq(24, cols, 22));
    ASSERT_NO_FATAL_FAILURE(Check(stacked, {12, 0}, true, true));
  }
}

// Q, K and V of different formats, bias, accumulation, both kinds of rows; row counts that do not
// fill panels.
TEST_F(LinearTest, StackedWithBiasOntoWhatIsThere) {
  std::vector<RandomTensor> stacked;
  stacked.push_back(cpu::MakeRandomTensor(TensorType::kQ4_K, 100, 512, 3));
  stacked.push_back(cpu::MakeRandomTensor(TensorType::kQ6_K, 36, 512, 4));
  stacked.push_back(cpu::MakeRandomTensor(TensorType::kQ4_0, 37, 512, 5));
  for (const Case rows : {Case{1, 0}, Case{3, 5}, Case{0, 65}}) {
    for (const bool accumulate : {false, true}) {
      ASSERT_NO_FATAL_FAILURE(Check(stacked, rows, true, accumulate));
    }
  }
}

// Panels are unpacked in batches for prefill: more rows than one batch holds, and long sums.
TEST_F(LinearTest, LargeMatrix) {
  const RandomTensor tensor = cpu::MakeRandomTensor(TensorType::kQ4_0, 1040, 14336, 6);
  ASSERT_NO_FATAL_FAILURE(Check({tensor}, {1, 0}, false, false));
  ASSERT_NO_FATAL_FAILURE(Check({tensor}, {16, 3}, false, true));
  ASSERT_NO_FATAL_FAILURE(Check({tensor}, {32, 0}, false, false));
}

// A norm before and a gate behind, in one operation; enough columns and rows that blocks share
// them.
TEST_F(LinearTest, ProjectDecodeRows) {
  for (const int rows : {1, 5, 16, 33}) CheckProject({rows, 0});
}

TEST_F(LinearTest, ProjectPrefillRows) {
  for (const Case rows : {Case{5, 2}, Case{0, 3}}) CheckProject(rows);
}

// A row's result depends on its kind only, not on what else is in the step: neither on the number
// of rows nor on how blocks share a wide weight.
TEST_F(LinearTest, RowsDoNotDependOnTheBatch) {
  for (const int cols : {1024, 14336}) {
    const RandomTensor tensor = cpu::MakeRandomTensor(TensorType::kQ4_K, 96, cols, 7);
    const auto weight = *Gpu()->LoadWeight({&tensor.view, 1});
    const std::vector<float> norm(cols, 0.7f);
    const TensorView norm_view{.name = "norm",
                               .type = TensorType::kF32,
                               .shape = {cols},
                               .data = std::as_bytes(std::span(norm)),
                               .interleaved_head_dim = 0};
    const auto norm_weight = *Gpu()->LoadWeight({&norm_view, 1});
    const std::vector<float> x = RandomFloats(200 * cols, 12);
    const auto first_row = [&](int rows, bool decode, bool gated) {
      const std::vector<float> part(x.begin(), x.begin() + size_t(rows) * cols);
      const int outputs = gated ? 48 : 96;
      Matrix gpu_x(*Gpu(), part, cols), normed(*Gpu(), part, cols);
      Matrix y(*Gpu(), std::vector<float>(rows * 96), 96);
      Matrix product(*Gpu(), std::vector<float>(rows * 48), 48);
      Gpu()->Project({.norm = {.x = gpu_x.view(), .weight = norm_weight.get(), .y = normed.view()},
                      .linear = {.x = normed.view(),
                                 .weight = weight.get(),
                                 .y = y.view(),
                                 .split = decode ? RowSplit{rows, 0} : RowSplit{0, rows}},
                      .product = gated ? product.view() : Activations{}});
      std::vector<float> first = (gated ? product : y).Read();
      first.resize(outputs);
      return first;
    };
    for (const bool gated : {false, true}) {
      SCOPED_TRACE(testing::Message() << cols << " columns, gated " << gated);
      for (const int rows : {2, 9, 30, 64}) {
        EXPECT_EQ(first_row(rows, true, gated), first_row(1, true, gated)) << rows;
      }
      if (cols != 1024) continue;  // of prefill rows, the library's own kernels
      for (const int rows : {2, 64, 200}) {
        EXPECT_EQ(first_row(rows, false, gated), first_row(1, false, gated)) << rows;
      }
    }
  }
}

}  // namespace
}  // namespace kvpareto::cuda
