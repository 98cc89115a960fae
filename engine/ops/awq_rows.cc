#include "engine/ops/awq_rows.h"

#include <cstring>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

// One row of `words` (int32, eight matrix rows each) for matrix rows [first_row, first_row +
// num_rows): out[r * stride] = nibble of row first_row + r.
void UnpackWords(const std::byte* words, int64_t first_row, int num_rows, size_t stride,
                 uint8_t* out) {
  const std::byte* word = words + first_row / kAwqWordRows * sizeof(uint32_t);
  for (int row = 0; row < num_rows; row += kAwqWordRows, word += sizeof(uint32_t)) {
    uint32_t nibbles = Load<uint32_t>(word);
    for (int i = 0; i < kAwqWordRows; ++i, nibbles >>= 4) {
      const int r = row + kAwqNibbleRow[i];
      if (r < num_rows) out[r * stride] = nibbles & 15;
    }
  }
}

}  // namespace

AwqRows UnpackAwqRows(const TensorView& tensor, int64_t first_row, int num_rows) {
  KVP_CHECK(tensor.type == TensorType::kAwq4 && first_row % kAwqWordRows == 0 &&
            first_row + num_rows <= tensor.rows())
      << tensor.name << ": rows " << first_row << " + " << num_rows;
  const int64_t cols = tensor.cols(), groups = cols / tensor.awq.group_cols;
  const size_t row_of_words = tensor.rows() / kAwqWordRows * sizeof(uint32_t);
  AwqRows rows{.groups = static_cast<int>(groups)};
  rows.codes.resize(num_rows * cols);
  rows.zeros.resize(num_rows * groups);
  rows.scales.resize(num_rows * groups);
  for (int64_t c = 0; c < cols; ++c) {
    UnpackWords(tensor.data.data() + c * row_of_words, first_row, num_rows, cols, &rows.codes[c]);
  }
  for (int64_t g = 0; g < groups; ++g) {
    UnpackWords(tensor.awq.zeros.data() + g * row_of_words, first_row, num_rows, groups,
                &rows.zeros[g]);
    const std::byte* scales = tensor.awq.scales.data() + (g * tensor.rows() + first_row) * 2;
    for (int r = 0; r < num_rows; ++r) rows.scales[r * groups + g] = Load<uint16_t>(scales + 2 * r);
  }
  return rows;
}

int AwqKernelGroup(const TensorView& tensor) {
  return tensor.awq.group_cols % 128 == 0 ? 128 : tensor.awq.group_cols % 64 == 0 ? 64 : 32;
}

}  // namespace kvpareto
