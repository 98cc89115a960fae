#include "engine/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "engine/cpu/decode_panel.h"
#include "engine/cpu/isa.h"
#include "tests/cpu/random_weight.h"

namespace kvpareto::cpu {
namespace {

std::vector<uint32_t> Bits(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

std::vector<float> DecodeWeight(const PackedWeight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows()) * weight.cols());
  for (int r = 0; r < weight.rows(); ++r) {
    const PanelView& panel = weight.PanelOf(r);
    DecodePanelRow(panel, r - panel.first_row, &values[static_cast<size_t>(r) * weight.cols()]);
  }
  return values;
}

// [padded_cols, 16] back to the panel's rows.
std::vector<float> PanelRows(const PanelView& panel, std::span<const float> decoded) {
  std::vector<float> values;
  for (int r = 0; r < panel.rows; ++r) {
    for (int c = 0; c < panel.layout->cols; ++c) values.push_back(decoded[c * kPanelRows + r]);
  }
  return values;
}

// The bf16 operand is the decoded panel rounded to bf16, columns in pairs. Zeros may lose their
// sign.
void ExpectRounded(const PanelView& panel, std::span<const float> decoded) {
  std::vector<uint16_t> tiles(decoded.size());
  const int units = panel.layout->padded_cols / kUnitCols, first = units / 2;
  DecodePanelBf16(panel, 0, first, tiles.data());
  DecodePanelBf16(panel, first, units - first, &tiles[size_t{kUnitCols} * kPanelRows * first]);
  for (size_t i = 0; i < decoded.size(); ++i) {
    const size_t c = i / kPanelRows, r = i % kPanelRows;
    const uint16_t tile = tiles[(c / 2 * kPanelRows + r) * 2 + c % 2];
    ASSERT_EQ(Bf16ToFloat(tile), Bf16ToFloat(FloatToBf16(decoded[i]))) << r << ", " << c;
  }
}

class PackedWeightTest : public testing::TestWithParam<TensorType> {
 protected:
  int cols() const { return GetParam() >= TensorType::kQ4_K ? 512 : IsFloat(GetParam()) ? 80 : 96; }
  ThreadPool pool_{2};
  HostRegions regions_;
};

TEST_P(PackedWeightTest, DecodesToTheFilesValuesBitForBit) {
  for (const int rows : {1, 7, 16, 17, 64}) {
    const RandomTensor tensor = MakeRandomTensor(GetParam(), rows, cols(), 1);
    auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
    ASSERT_TRUE(weight.ok()) << weight.status();
    EXPECT_EQ((*weight)->rows(), rows);
    EXPECT_EQ((*weight)->cols(), cols());
    EXPECT_EQ(Bits(DecodeWeight(**weight)), Bits(tensor.Decode()));
  }
}

TEST_P(PackedWeightTest, EveryPanelDecoderAgrees) {
  const RandomTensor tensor = MakeRandomTensor(GetParam(), 23, cols(), 2);
  auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
  ASSERT_TRUE(weight.ok());
  const std::vector<float> all = tensor.Decode();
  for (const PanelView& panel : (*weight)->panels()) {
    const auto expected = Bits(std::span(all).subspan(static_cast<size_t>(panel.first_row) * cols(),
                                                      static_cast<size_t>(panel.rows) * cols()));
    std::vector<float> decoded(static_cast<size_t>(panel.layout->padded_cols) * kPanelRows);
    DecodePanelScalar(panel, decoded.data());
    EXPECT_EQ(Bits(PanelRows(panel, decoded)), expected);
    for (Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (DetectIsa() < isa) continue;  // no such code on this machine
      std::fill(decoded.begin(), decoded.end(), -1.0f);
      (isa == Isa::kAvx2 ? DecodePanelAvx2 : DecodePanelAvx512)(panel, decoded.data());
      EXPECT_EQ(Bits(PanelRows(panel, decoded)), expected) << static_cast<int>(isa);
    }
    if (DetectIsa() >= Isa::kAvx512Bf16) ExpectRounded(panel, decoded);
  }
}

TEST_P(PackedWeightTest, AppliesTheRowOrder) {
  const RandomTensor tensor = MakeRandomTensor(GetParam(), 32, cols(), 3, 16);
  auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
  ASSERT_TRUE(weight.ok());
  EXPECT_EQ(Bits(DecodeWeight(**weight)), Bits(tensor.Decode()));
}

// Whole panels of realistic width: the planes may cost a tenth more than the file at most.
TEST_P(PackedWeightTest, StaysCompressed) {
  const RandomTensor tensor = MakeRandomTensor(GetParam(), 64, 1536, 4);
  auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
  ASSERT_TRUE(weight.ok());
  EXPECT_LE((*weight)->resident_bytes(), 1.1 * tensor.storage.size());
}

INSTANTIATE_TEST_SUITE_P(Types, PackedWeightTest, testing::ValuesIn(kAllTypes), [](const auto& i) {
  return std::string(GetTensorTypeInfo(i.param).name);
});

TEST(PackedWeight, StacksTensorsOfDifferentTypes) {
  ThreadPool pool(2);
  HostRegions regions;
  const RandomTensor parts[] = {MakeRandomTensor(TensorType::kQ5_0, 24, 64, 5),
                                MakeRandomTensor(TensorType::kQ8_0, 7, 64, 6),
                                MakeRandomTensor(TensorType::kBf16, 16, 64, 7)};
  std::vector<TensorView> views;
  std::vector<float> expected;
  for (const RandomTensor& part : parts) {
    views.push_back(part.view);
    const std::vector<float> values = part.Decode();
    expected.insert(expected.end(), values.begin(), values.end());
  }
  auto weight = PackedWeight::Load(views, pool, regions);
  ASSERT_TRUE(weight.ok());
  EXPECT_EQ((*weight)->rows(), 47);
  EXPECT_EQ(Bits(DecodeWeight(**weight)), Bits(expected));
}

TEST(PackedWeight, ConcatenatesVectorsInRowOrder) {
  ThreadPool pool(1);
  HostRegions regions;
  RandomTensor first = MakeRandomTensor(TensorType::kF32, 1, 8, 8, 4);
  RandomTensor second = MakeRandomTensor(TensorType::kF16, 1, 3, 9);
  first.view.shape = {8};
  second.view.shape = {3};
  const TensorView views[] = {first.view, second.view};
  auto weight = PackedWeight::Load(views, pool, regions);
  ASSERT_TRUE(weight.ok());
  ASSERT_TRUE((*weight)->is_vector());
  ASSERT_EQ((*weight)->cols(), 11);
  const auto at = [&](int i) { return (*weight)->vector()[i]; };
  const float* file = reinterpret_cast<const float*>(first.storage.data());
  const int order[] = {0, 2, 1, 3, 4, 6, 5, 7};  // heads of 4: pairs become halves
  for (int i = 0; i < 8; ++i) EXPECT_EQ(at(i), file[order[i]]) << i;
  uint16_t half;
  std::memcpy(&half, second.storage.data() + 4, sizeof(half));
  EXPECT_EQ(at(10), F16ToFloat(half));
}

TEST(PackedWeight, RefusesShapesItCannotCompute) {
  ThreadPool pool(1);
  HostRegions regions;
  const RandomTensor matrix = MakeRandomTensor(TensorType::kQ8_0, 4, 64, 10);
  const RandomTensor narrow = MakeRandomTensor(TensorType::kQ8_0, 4, 32, 10);
  RandomTensor vector = MakeRandomTensor(TensorType::kF32, 1, 64, 10);
  vector.view.shape = {64};
  TensorView cube = matrix.view;
  cube.shape = {2, 2, 64};
  TensorView cut = matrix.view;
  cut.data = cut.data.first(cut.data.size() - 1);
  const std::vector<std::vector<TensorView>> cases = {{matrix.view, narrow.view},
                                                      {matrix.view, vector.view},
                                                      {vector.view, matrix.view},
                                                      {cube},
                                                      {cut}};
  for (const auto& stacked : cases) {
    const auto weight = PackedWeight::Load(stacked, pool, regions);
    EXPECT_EQ(weight.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(GetErrorInfo(weight.status())->reason, "WEIGHT_SHAPE");
  }
}

}  // namespace
}  // namespace kvpareto::cpu
