#include "engine/cpu/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "tests/cpu/available_isas.h"
#include "tests/cpu/random_awq.h"

namespace kvpareto::cpu {
namespace {

Activations View(std::vector<float>& values, int rows) {
  return {reinterpret_cast<std::byte*>(values.data()), rows,
          static_cast<int>(values.size()) / rows};
}

// y = x w^T in double precision, with what scales its rounding errors.
struct Reference {
  std::vector<double> y;
  std::vector<double> magnitude;     // sum of |x w|
  std::vector<double> root_squares;  // root of the sum of (x w)^2
  std::vector<double> step_error;    // largest |x| of the row times the root of the sum of w^2
};
Reference Multiply(const std::vector<float>& x, const std::vector<float>& w, int rows, int cols) {
  const int outputs = static_cast<int>(w.size()) / cols;
  Reference result;
  for (int m = 0; m < rows; ++m) {
    for (int n = 0; n < outputs; ++n) {
      double sum = 0.0, magnitude = 0.0, squares = 0.0, weight_squares = 0.0, largest = 0.0;
      for (int c = 0; c < cols; ++c) {
        const double xc = x[m * cols + c], wc = w[n * cols + c];
        sum += xc * wc;
        magnitude += std::abs(xc * wc);
        squares += xc * wc * xc * wc;
        weight_squares += wc * wc;
        largest = std::max(largest, std::abs(xc));
      }
      result.y.push_back(sum);
      result.magnitude.push_back(magnitude);
      result.root_squares.push_back(std::sqrt(squares));
      result.step_error.push_back(largest * std::sqrt(weight_squares));
    }
  }
  return result;
}

// Large against the errors of the products, so that a missing or doubled addend is seen.
std::vector<float> LargeFloats(size_t count, uint32_t seed) {
  std::vector<float> values = RandomFloats(count, seed);
  for (float& v : values) v *= 1000.0f;
  return values;
}

TensorView VectorView(const std::vector<float>& values) {
  return {.name = "vector",
          .type = TensorType::kF32,
          .shape = {static_cast<int64_t>(values.size())},
          .data = std::as_bytes(std::span(values)),
          .interleaved_head_dim = 0};
}

enum class Kind { kDecode, kPrefill };

RowSplit SplitOf(Kind kind, int rows) {
  return kind == Kind::kDecode ? RowSplit{rows, 0} : RowSplit{0, rows};
}

// The bound on |error| of element i: six standard deviations of independent roundings, a uniform
// one within +-h having h / sqrt(3). bf16 prefill rounds both factors by up to 2^-8 of each; decode
// from codes rounds activations by up to half of 1/32512 of their group's largest; floats
// accumulate in `cols` roundings, which grow as their root.
double Tolerance(const Reference& reference, size_t i, int cols, Isa isa, Kind kind,
                 TensorType type) {
  const double accumulation = 4.0 * std::sqrt(cols) * 0x1p-24 * reference.magnitude[i];
  const double six_sigma = 6.0 / std::sqrt(3.0);
  if (kind == Kind::kPrefill && PrefillsInBf16(isa)) {
    return accumulation + six_sigma * std::sqrt(2.0) * 0x1p-8 * reference.root_squares[i];
  }
  if (kind == Kind::kDecode && isa != Isa::kScalar && !IsFloat(type)) {
    return accumulation + six_sigma * 0.5 / 32512.0 * reference.step_error[i];
  }
  return accumulation;
}

class LinearTest : public testing::TestWithParam<std::tuple<Isa, TensorType>> {
 protected:
  Isa isa() const { return std::get<0>(GetParam()); }
  TensorType type() const { return std::get<1>(GetParam()); }
  std::vector<int> Widths() const {
    if (IsFloat(type())) return {5, 80, 576};
    if (type() == TensorType::kAwq4) return {32, 576, 896};  // groups of 32, 64 and 128
    if (type() >= TensorType::kQ4_K) return {256, 1536};
    return {32, 576, 896};
  }
  // The nearest number of outputs that the type has, from `outputs` up.
  int Outputs(int outputs) const {
    return type() == TensorType::kAwq4 ? (outputs + 7) / 8 * 8 : outputs;
  }
  RandomTensor Random(int outputs, int cols, uint32_t seed) const {
    return type() == TensorType::kAwq4 ? MakeRandomAwq(outputs, cols, seed)
                                       : MakeRandomTensor(type(), outputs, cols, seed);
  }
  std::unique_ptr<PackedWeight> Load(const RandomTensor& tensor) {
    auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
    EXPECT_TRUE(weight.ok()) << weight.status();
    kernel_.Reserve((*weight)->cols());
    return std::move(*weight);
  }
  void Run(const PackedWeight& weight, std::vector<float>& x, std::vector<float>& y, RowSplit split,
           bool accumulate = false, const PackedWeight* bias = nullptr) {
    const int rows = split.decode_rows + split.prefill_rows;
    kernel_.Run({.x = View(x, rows),
                 .weight = &weight,
                 .bias = bias,
                 .y = View(y, rows),
                 .split = split,
                 .accumulate = accumulate});
  }

  ThreadPool pool_{2};
  HostRegions regions_;
  LinearKernel kernel_{isa(), &pool_};
};

TEST_P(LinearTest, EqualsDoublePrecision) {
  for (const int cols : Widths()) {
    for (const int wanted : {1, 16, 33, 70}) {
      const int outputs = Outputs(wanted);
      const RandomTensor tensor = Random(outputs, cols, cols + outputs);
      const auto weight = Load(tensor);
      for (const int rows : {1, 2, 7, 16, 17, 64}) {
        std::vector<float> x = RandomFloats(static_cast<size_t>(rows) * cols, rows);
        const Reference expected = Multiply(x, tensor.Decode(), rows, cols);
        for (const Kind kind : {Kind::kDecode, Kind::kPrefill}) {
          std::vector<float> y(static_cast<size_t>(rows) * outputs, NAN);
          Run(*weight, x, y, SplitOf(kind, rows));
          for (size_t i = 0; i < y.size(); ++i) {
            ASSERT_NEAR(y[i], expected.y[i], Tolerance(expected, i, cols, isa(), kind, type()))
                << "cols " << cols << ", outputs " << outputs << ", rows " << rows << ", element "
                << i << ", kind " << static_cast<int>(kind);
          }
        }
      }
    }
  }
}

// The same row gives the same bits alone, at another place, and among other rows of both kinds.
TEST_P(LinearTest, RowsDoNotDependOnEachOther) {
  const int cols = Widths().back(), outputs = Outputs(50), most = 75;
  const RandomTensor tensor = Random(outputs, cols, 11);
  const auto weight = Load(tensor);
  std::vector<float> x = RandomFloats(static_cast<size_t>(most) * cols, 12);
  for (const Kind kind : {Kind::kDecode, Kind::kPrefill}) {
    std::vector<float> all(static_cast<size_t>(most) * outputs);
    Run(*weight, x, all, SplitOf(kind, most));
    for (const int first : {0, 1, 13, 40, 64, 74}) {
      for (const int rows : {1, 3, 9, 11}) {
        if (first + rows > most) continue;
        std::vector<float> part(x.begin() + first * cols, x.begin() + (first + rows) * cols);
        const std::vector<float> others = RandomFloats(2 * cols, 13);
        RowSplit split = SplitOf(kind, rows);
        // Two rows of the other kind beside them.
        const bool decode = kind == Kind::kDecode;
        (decode ? split.prefill_rows : split.decode_rows) += 2;
        part.insert(decode ? part.end() : part.begin(), others.begin(), others.end());
        std::vector<float> y(static_cast<size_t>(rows + 2) * outputs);
        Run(*weight, part, y, split);
        const size_t skip = decode ? 0 : 2 * outputs;
        for (size_t i = 0; i < static_cast<size_t>(rows) * outputs; ++i) {
          ASSERT_EQ(y[skip + i], all[static_cast<size_t>(first) * outputs + i])
              << "first " << first << ", rows " << rows << ", kind " << static_cast<int>(kind);
        }
      }
    }
  }
}

TEST_P(LinearTest, AddsBiasAndOldOutput) {
  const int cols = Widths().back(), outputs = 40, rows = 19;
  const RandomTensor tensor = Random(outputs, cols, 21);
  const std::vector<float> bias_values = LargeFloats(outputs, 22);
  const TensorView bias_view = VectorView(bias_values);
  const auto weight = Load(tensor);
  auto bias = PackedWeight::Load({&bias_view, 1}, pool_, regions_);
  ASSERT_TRUE(bias.ok());
  std::vector<float> x = RandomFloats(static_cast<size_t>(rows) * cols, 23);
  const Reference expected = Multiply(x, tensor.Decode(), rows, cols);
  const std::vector<float> old = LargeFloats(static_cast<size_t>(rows) * outputs, 24);
  for (const Kind kind : {Kind::kDecode, Kind::kPrefill}) {
    for (const bool with_bias : {false, true}) {
      for (const bool accumulate : {false, true}) {
        std::vector<float> y = old;
        Run(*weight, x, y, SplitOf(kind, rows), accumulate, with_bias ? bias->get() : nullptr);
        for (size_t i = 0; i < y.size(); ++i) {
          const double added = (accumulate ? double{old[i]} : 0.0) +
                               (with_bias ? double{bias_values[i % outputs]} : 0.0);
          const double tolerance = Tolerance(expected, i, cols, isa(), kind, type()) +
                                   8 * 0x1p-24 * (std::abs(added) + expected.magnitude[i]);
          ASSERT_NEAR(y[i], expected.y[i] + added, tolerance)
              << "bias " << with_bias << ", accumulate " << accumulate << ", element " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, LinearTest,
                         testing::Combine(testing::ValuesIn(AvailableIsas()),
                                          testing::ValuesIn(AllTypesAndAwq())),
                         [](const auto& i) {
                           return Name(std::get<0>(i.param)) + "_" +
                                  std::string(GetTensorTypeInfo(std::get<1>(i.param)).name);
                         });

TEST(Linear, StackedTypesComputeAtOnce) {
  ThreadPool pool(2);
  HostRegions regions;
  const int cols = 896, rows = 21;
  const RandomTensor parts[] = {MakeRandomTensor(TensorType::kQ5_0, 24, cols, 31),
                                MakeRandomTensor(TensorType::kQ8_0, 7, cols, 32),
                                MakeRandomTensor(TensorType::kBf16, 33, cols, 33)};
  std::vector<TensorView> views;
  std::vector<float> decoded;
  for (const RandomTensor& part : parts) {
    views.push_back(part.view);
    const std::vector<float> values = part.Decode();
    decoded.insert(decoded.end(), values.begin(), values.end());
  }
  auto weight = PackedWeight::Load(views, pool, regions);
  ASSERT_TRUE(weight.ok());
  std::vector<float> x = RandomFloats(rows * cols, 34);
  const Reference expected = Multiply(x, decoded, rows, cols);
  for (const Isa isa : AvailableIsas()) {
    LinearKernel kernel(isa, &pool);
    kernel.Reserve(cols);
    std::vector<float> y(rows * 64);
    kernel.Run({.x = View(x, rows), .weight = weight->get(), .y = View(y, rows), .split = {5, 16}});
    for (size_t i = 0; i < y.size(); ++i) {
      const Kind kind = i / 64 < 5 ? Kind::kDecode : Kind::kPrefill;
      const TensorType type = i % 64 < 31 ? TensorType::kQ8_0 : TensorType::kBf16;
      ASSERT_NEAR(y[i], expected.y[i], Tolerance(expected, i, cols, isa, kind, type))
          << Name(isa) << " element " << i;
    }
  }
}

// More rows than the input scratch holds and more columns than the decoded scratch: computed in
// blocks, each column's part accumulating on the one before.
TEST(Linear, ManyRowsOfAWideMatrix) {
  ThreadPool pool(2);
  HostRegions regions;
  const int cols = 4864, rows = 950, outputs = 16, decode_rows = 100;
  const RandomTensor tensor = MakeRandomTensor(TensorType::kQ6_K, outputs, cols, 41);
  const std::vector<float> bias_values = LargeFloats(outputs, 42);
  const TensorView bias_view = VectorView(bias_values);
  auto weight = PackedWeight::Load({&tensor.view, 1}, pool, regions);
  auto bias = PackedWeight::Load({&bias_view, 1}, pool, regions);
  ASSERT_TRUE(weight.ok() && bias.ok());
  std::vector<float> x = RandomFloats(static_cast<size_t>(rows) * cols, 43);
  const std::vector<float> old = LargeFloats(static_cast<size_t>(rows) * outputs, 44);
  const Reference expected = Multiply(x, tensor.Decode(), rows, cols);
  for (const Isa isa : AvailableIsas()) {
    LinearKernel kernel(isa, &pool);
    kernel.Reserve(cols);
    const size_t scratch_bytes = kernel.scratch_bytes();
    std::vector<float> y = old;
    kernel.Run({.x = View(x, rows),
                .weight = weight->get(),
                .bias = bias->get(),
                .y = View(y, rows),
                .split = {decode_rows, rows - decode_rows},
                .accumulate = true});
    EXPECT_EQ(kernel.scratch_bytes(), scratch_bytes) << "Run must not grow scratch";
    for (size_t i = 0; i < y.size(); ++i) {
      const Kind kind = i / outputs < decode_rows ? Kind::kDecode : Kind::kPrefill;
      const double added = double{old[i]} + bias_values[i % outputs];
      const double tolerance = Tolerance(expected, i, cols, isa, kind, TensorType::kQ6_K) +
                               8 * 0x1p-24 * (std::abs(added) + expected.magnitude[i]);
      ASSERT_NEAR(y[i], expected.y[i] + added, tolerance) << Name(isa) << " element " << i;
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
