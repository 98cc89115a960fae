#include "tests/support/awq_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/base/float16.h"

namespace kvpareto::support {
namespace {

// Which nibble of a word holds row 8 w + i.
constexpr std::array<int, 8> kNibbleOfRow = {0, 4, 1, 5, 2, 6, 3, 7};

// Up to four significant bits.
float FourBits(float x) {
  int exponent = 0;
  const float mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::ceil(mantissa * 16.0f), exponent - 4);
}

class Words {
 public:
  Words(int64_t lines, int64_t rows) : rows_(rows), words_(lines * rows / 8, 0) {}
  void Set(int64_t line, int64_t row, uint32_t code) {
    words_[(line * rows_ + row) / 8] |= code << (4 * kNibbleOfRow[row % 8]);
  }
  std::vector<std::byte> Bytes() const {
    std::vector<std::byte> bytes(words_.size() * sizeof(uint32_t));
    std::memcpy(bytes.data(), words_.data(), bytes.size());
    return bytes;
  }

 private:
  int64_t rows_;
  std::vector<uint32_t> words_;
};

}  // namespace

AwqBlocks QuantizeAwq(const std::vector<float>& values, int64_t rows, int64_t cols,
                      int group_cols) {
  Words codes(cols, rows), zeros(cols / group_cols, rows);
  std::vector<uint16_t> scales(cols / group_cols * rows);
  AwqBlocks blocks;
  blocks.values.resize(values.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t group = 0; group < cols / group_cols; ++group) {
      const int64_t first = row * cols + group * group_cols;
      const auto [low, high] = std::minmax_element(&values[first], &values[first] + group_cols);
      const float scale = FourBits(std::max(*high - *low, 1e-5f) / 15.0f);
      const float zero = std::clamp(-std::round(*low / scale), 0.0f, 15.0f);
      scales[group * rows + row] = FloatToF16(scale);
      zeros.Set(group, row, static_cast<uint32_t>(zero));
      for (int64_t i = first; i < first + group_cols; ++i) {
        const float code = std::clamp(std::round(values[i] / scale) + zero, 0.0f, 15.0f);
        codes.Set(i % cols, row, static_cast<uint32_t>(code));
        blocks.values[i] = scale * (code - zero);
      }
    }
  }
  blocks.codes = codes.Bytes();
  blocks.zeros = zeros.Bytes();
  blocks.scales.resize(scales.size() * sizeof(uint16_t));
  std::memcpy(blocks.scales.data(), scales.data(), blocks.scales.size());
  return blocks;
}

}  // namespace kvpareto::support
