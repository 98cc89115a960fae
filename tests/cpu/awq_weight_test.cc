// Matrices in AutoAWQ's layout as panels of the CPU backend.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/cpu/decode_panel.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/packed_weight.h"
#include "engine/ops/awq_rows.h"
#include "engine/ops/dequantize_rows.h"
#include "tests/cpu/random_awq.h"

namespace kvpareto::cpu {
namespace {

// Widths whose groups are of 32, 64 and 128 columns.
class AwqWeightTest : public testing::TestWithParam<int> {
 protected:
  int cols() const { return GetParam(); }
  std::unique_ptr<PackedWeight> Load(const TensorView& view) {
    auto weight = PackedWeight::Load({&view, 1}, pool_, regions_);
    EXPECT_TRUE(weight.ok()) << weight.status();
    return std::move(*weight);
  }

  ThreadPool pool_{2};
  HostRegions regions_;
};

std::vector<float> Row(const std::vector<float>& values, int row, int cols) {
  return {values.begin() + row * cols, values.begin() + (row + 1) * cols};
}

TEST_P(AwqWeightTest, DecodesToTheCheckpointsValues) {
  for (const int rows : {8, 16, 24, 72}) {
    const RandomTensor tensor = MakeRandomAwq(rows, cols(), rows);
    const auto weight = Load(tensor.view);
    EXPECT_EQ(weight->rows(), rows);
    EXPECT_EQ(weight->cols(), cols());
    EXPECT_EQ(DequantizeAll(tensor.view), tensor.awq_values);
    for (int r = 0; r < rows; ++r) {
      std::vector<float> row(cols());
      const PanelView& panel = weight->PanelOf(r);
      DecodePanelRow(panel, r - panel.first_row, row.data());
      ASSERT_EQ(row, Row(tensor.awq_values, r, cols())) << "row " << r << " of " << rows;
    }
  }
}

// What is 0 may be -0 in one of them.
TEST_P(AwqWeightTest, EveryPanelDecoderAgrees) {
  const RandomTensor tensor = MakeRandomAwq(24, cols(), 2);
  const auto weight = Load(tensor.view);
  for (const PanelView& panel : weight->panels()) {
    std::vector<float> scalar(static_cast<size_t>(panel.layout->padded_cols) * kPanelRows);
    DecodePanelScalar(panel, scalar.data());
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (DetectIsa() < isa) continue;  // no such code on this machine
      std::vector<float> decoded(scalar.size(), -1.0f);
      (isa == Isa::kAvx2 ? DecodePanelAvx2 : DecodePanelAvx512)(panel, decoded.data());
      EXPECT_EQ(decoded, scalar) << static_cast<int>(isa);
    }
    if (DetectIsa() < Isa::kAvx512Bf16) continue;
    std::vector<uint16_t> tiles(scalar.size());
    DecodePanelBf16(panel, 0, panel.layout->padded_cols / kUnitCols, tiles.data());
    for (size_t i = 0; i < scalar.size(); ++i) {
      const size_t c = i / kPanelRows, r = i % kPanelRows;
      ASSERT_EQ(Bf16ToFloat(tiles[(c / 2 * kPanelRows + r) * 2 + c % 2]), scalar[i]) << i;
    }
  }
}

// Groups wider than a record of panels repeat their scale in each of them.
TEST_P(AwqWeightTest, WideGroupsAreThoseOfSeveralRecords) {
  std::vector<float> values = RandomFloats(16 * 8 * size_t(cols()), 5);
  const support::AwqBlocks blocks = support::QuantizeAwq(values, 16, 8 * cols(), 4 * cols());
  const TensorView view{
      .name = "wide",
      .type = TensorType::kAwq4,
      .shape = {16, 8 * cols()},
      .data = blocks.codes,
      .awq = {.group_cols = 4 * cols(), .zeros = blocks.zeros, .scales = blocks.scales}};
  const auto weight = Load(view);
  for (int r = 0; r < 16; ++r) {
    std::vector<float> row(view.cols());
    DecodePanelRow(weight->panels()[0], r, row.data());
    ASSERT_EQ(row, Row(blocks.values, r, 8 * cols())) << r;
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, AwqWeightTest, testing::Values(96, 192, 384));

// 4 bits, and a scale and a zero per 16 rows and group in whole cache lines.
TEST(AwqWeight, StaysCompressed) {
  ThreadPool pool(1);
  HostRegions regions;
  for (const auto& [cols, bits] : {std::pair(1536, 4.25), {1600, 4.5}, {1568, 5.0}}) {
    const RandomTensor tensor = MakeRandomAwq(64, cols, 4);
    auto weight = PackedWeight::Load({&tensor.view, 1}, pool, regions);
    ASSERT_TRUE(weight.ok());
    EXPECT_LE((*weight)->resident_bytes(), bits / 8 * 64 * cols + 1024) << cols;
  }
}

TEST(AwqWeight, StacksBesideOtherTypes) {
  ThreadPool pool(2);
  HostRegions regions;
  const RandomTensor first = MakeRandomAwq(24, 128, 6);
  const RandomTensor second = MakeRandomTensor(TensorType::kBf16, 7, 128, 7);
  const TensorView views[] = {first.view, second.view};
  auto weight = PackedWeight::Load(views, pool, regions);
  ASSERT_TRUE(weight.ok()) << weight.status();
  std::vector<float> row(128);
  DecodePanelRow((*weight)->PanelOf(23), 23 - 16, row.data());
  EXPECT_EQ(row, Row(first.awq_values, 23, 128));
  DecodePanelRow((*weight)->PanelOf(24), 0, row.data());
  EXPECT_EQ(row, Row(second.Decode(), 0, 128));
}

TEST(AwqWeight, RefusesPartsThatAreNotWhole) {
  ThreadPool pool(1);
  HostRegions regions;
  const RandomTensor good = MakeRandomAwq(16, 128, 8);
  std::vector<TensorView> cases(7, good.view);
  cases[0].awq.group_cols = 48;
  cases[1].awq.group_cols = 0;
  cases[2].awq.zeros = good.view.awq.zeros.first(7);
  cases[3].awq.scales = good.view.awq.scales.first(30);
  cases[4].shape = {12, 128};
  cases[5].interleaved_head_dim = 16;
  cases[6].type = TensorType::kI32;
  for (const TensorView& view : cases) {
    const auto weight = PackedWeight::Load({&view, 1}, pool, regions);
    EXPECT_EQ(weight.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(GetErrorInfo(weight.status())->reason, "WEIGHT_SHAPE");
  }
}

}  // namespace
}  // namespace kvpareto::cpu
