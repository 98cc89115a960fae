// Linear layers against double precision over the decoded weights.
#include <algorithm>
#include <cmath>

#include "tests/cpu/random_weight.h"
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

  static int Width(TensorType type) { return cpu::IsFloat(type) ? 200 : 768; }
};

TEST_F(LinearTest, DecodeEveryFormatAndRowCount) {
  for (const TensorType type : cpu::kAllTypes) {
    const RandomTensor tensor = cpu::MakeRandomTensor(type, 72, Width(type), 1);
    for (const int rows : {1, 2, 8, 9, 16, 17, 33, 64, 65}) {
      SCOPED_TRACE(testing::Message() << GetTensorTypeInfo(type).name << " rows " << rows);
      ASSERT_NO_FATAL_FAILURE(Check({tensor}, {rows, 0}, false, false));
    }
  }
}

TEST_F(LinearTest, PrefillEveryFormat) {
  for (const TensorType type : cpu::kAllTypes) {
    const RandomTensor tensor = cpu::MakeRandomTensor(type, 72, Width(type), 2);
    for (const int rows : {1, 7, 130}) {
      SCOPED_TRACE(testing::Message() << GetTensorTypeInfo(type).name << " rows " << rows);
      ASSERT_NO_FATAL_FAILURE(Check({tensor}, {0, rows}, false, false));
    }
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
  ASSERT_NO_FATAL_FAILURE(Check({tensor}, {16, 3}, false, false));
}

// A row's result depends on its kind only, not on what else is in the step.
TEST_F(LinearTest, RowsDoNotDependOnTheBatch) {
  const RandomTensor tensor = cpu::MakeRandomTensor(TensorType::kQ4_K, 80, 1024, 7);
  const auto weight = *Gpu()->LoadWeight({&tensor.view, 1});
  const std::vector<float> x = RandomFloats(200 * 1024, 12);
  const auto first_row = [&](int rows, bool decode) {
    const std::vector<float> part(x.begin(), x.begin() + size_t(rows) * 1024);
    Matrix gpu_x(*Gpu(), part, 1024), gpu_y(*Gpu(), std::vector<float>(rows * 80), 80);
    Gpu()->Linear({.x = gpu_x.view(),
                   .weight = weight.get(),
                   .y = gpu_y.view(),
                   .split = decode ? RowSplit{rows, 0} : RowSplit{0, rows}});
    std::vector<float> y = gpu_y.Read();
    y.resize(80);
    return y;
  };
  for (const int rows : {2, 9, 30, 64})
    EXPECT_EQ(first_row(rows, true), first_row(1, true)) << rows;
  for (const int rows : {2, 64, 200}) {
    EXPECT_EQ(first_row(rows, false), first_row(1, false)) << rows;
  }
}

}  // namespace
}  // namespace kvpareto::cuda
