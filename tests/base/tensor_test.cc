#include "engine/base/tensor.h"

#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace kvpareto {
namespace {

TEST(TensorView, RowBytesCountWholeBlocks) {
  TensorView view{.name = "w", .type = TensorType::kQ4_K, .shape = {3, 512}};
  EXPECT_EQ(view.rows(), 3);
  EXPECT_EQ(view.cols(), 512);
  EXPECT_EQ(view.row_bytes(), 2u * 144);
}

TEST(TensorView, VectorIsOneRow) {
  TensorView view{.name = "n", .type = TensorType::kF32, .shape = {7}};
  EXPECT_EQ(view.rows(), 1);
  EXPECT_EQ(view.row_bytes(), 28u);
}

// Rows of one byte-sized marker each: row r of the file holds r in its first byte.
class RowOrder : public testing::Test {
 protected:
  RowOrder() : bytes_(16 * 4) {
    for (int row = 0; row < 16; ++row) bytes_[row * 4] = static_cast<std::byte>(row);
    view_ = {.name = "q", .type = TensorType::kF32, .shape = {16, 1}, .data = bytes_};
  }
  int Stored(int row) const { return static_cast<int>(view_.Row(row)[0]); }

  std::vector<std::byte> bytes_;
  TensorView view_;
};

TEST_F(RowOrder, InOrderWithoutInterleaving) {
  for (int row = 0; row < 16; ++row) EXPECT_EQ(Stored(row), row);
}

TEST_F(RowOrder, InterleavedPairsBecomeHalvesWithinEachHead) {
  view_.interleaved_head_dim = 8;
  const int expected[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
  for (int row = 0; row < 16; ++row) EXPECT_EQ(Stored(row), expected[row]) << row;
}

TEST_F(RowOrder, OutOfRangeIsABrokenInvariant) {
  EXPECT_DEATH(view_.Row(16), "row 16 of 16");
  EXPECT_DEATH(view_.Row(-1), "row -1 of 16");
}

TEST(TensorTypeInfo, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (int type = 0; type <= static_cast<int>(TensorType::kQ6_K); ++type) {
    names.insert(GetTensorTypeInfo(static_cast<TensorType>(type)).name);
  }
  EXPECT_EQ(names.size(), 11u);
}

}  // namespace
}  // namespace kvpareto
