// The decode kernels of one instruction set against those of another, bit for bit: greedy answers
// depend neither on the batch nor on which kernel its size selects.
#include "engine/cpu/linear_decode.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/packed_weight.h"
#include "tests/cpu/available_isas.h"
#include "tests/cpu/random_awq.h"

namespace kvpareto::cpu {
namespace {

// Rows quantized for the AVX-512 kernels, with memory for a whole pass.
class Quantized {
 public:
  Quantized(int num_rows, int cols, uint32_t seed)
      : x_(RandomFloats(static_cast<size_t>(num_rows) * cols, seed)) {
    const int units = (cols + kUnitCols - 1) / kUnitCols;
    const size_t elements = static_cast<size_t>(kDecodeRowsPerPass) * units;
    bytes_.Reserve(elements * 2 * kUnitCols);
    step_.Reserve(elements * sizeof(float));
    step_sum_.Reserve(elements * sizeof(float));
    sum_.Reserve(elements * 2 * sizeof(int32_t));
    rows_ = {.x = x_.data(),
             .cols = cols,
             .units = units,
             .rows_per_pass = num_rows,
             .bytes = bytes_.as<int8_t>(),
             .step = step_.as<float>(),
             .step_sum = step_sum_.as<float>(),
             .sum = sum_.as<int32_t>()};
    for (int row = 0; row < num_rows; ++row) QuantizeRowAvx512(rows_, row);
  }

  const QuantizedRows& rows() const { return rows_; }

 private:
  std::vector<float> x_;
  AlignedBuffer bytes_, step_, step_sum_, sum_;
  QuantizedRows rows_;
};

class TileRowsTest : public testing::TestWithParam<TensorType> {};

TEST_P(TileRowsTest, AreTheBitsOfVectorRows) {
  if (DetectIsa() < Isa::kAmx) GTEST_SKIP() << "this machine has no AMX";
  const TensorType type = GetParam();
  ThreadPool pool(1);
  HostRegions regions;
  const bool awq = type == TensorType::kAwq4;
  // One unit (but for super-blocks), and an odd number of panels of many.
  const std::vector<int> widths =
      type >= TensorType::kQ4_K && !awq ? std::vector{256, 1536} : std::vector{32, 576, 896};
  for (const int cols : widths) {
    for (const int outputs : {16, 72}) {
      const RandomTensor tensor =
          awq ? MakeRandomAwq(outputs, cols, cols) : MakeRandomTensor(type, outputs, cols, cols);
      const auto weight = PackedWeight::Load({&tensor.view, 1}, pool, regions);
      ASSERT_TRUE(weight.ok()) << weight.status();
      const auto panels = (*weight)->panels();
      for (int num_rows = 1; num_rows <= kDecodeRowsPerPass; ++num_rows) {
        const Quantized quantized(num_rows, cols, num_rows);
        const size_t values = panels.size() * num_rows * kPanelRows;
        std::vector<float> expected(values), got(values);
        DecodeRowsAvx512(panels, quantized.rows(), 0, num_rows, expected.data());
        DecodeRowsAmx(panels, quantized.rows(), 0, num_rows, got.data());
        EXPECT_EQ(std::memcmp(got.data(), expected.data(), values * sizeof(float)), 0)
            << "cols " << cols << ", outputs " << outputs << ", rows " << num_rows;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TileRowsTest, testing::ValuesIn(AllTypesAndAwq()), [](const auto& i) {
  return std::string(GetTensorTypeInfo(i.param).name);
});

}  // namespace
}  // namespace kvpareto::cpu
