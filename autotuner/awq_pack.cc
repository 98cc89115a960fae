#include "autotuner/awq_pack.h"

namespace kvpareto::tune {
namespace {

constexpr int kWordRows = 8;
constexpr int kNibbleRow[kWordRows] = {0, 2, 4, 6, 1, 3, 5, 7};

// nibbles [rows, cols] to words [cols, rows / 8].
std::vector<uint32_t> PackWords(const std::vector<uint8_t>& nibbles, int64_t rows, int64_t cols) {
  const int64_t words = rows / kWordRows;
  std::vector<uint32_t> packed(cols * words);
  for (int64_t w = 0; w < words; ++w) {
    for (int i = 0; i < kWordRows; ++i) {
      const uint8_t* row = &nibbles[(w * kWordRows + kNibbleRow[i]) * cols];
      for (int64_t c = 0; c < cols; ++c) {
        packed[c * words + w] |= static_cast<uint32_t>(row[c]) << (4 * i);
      }
    }
  }
  return packed;
}

}  // namespace

AwqTensors PackAwq(const GroupCodes& codes) {
  const int64_t groups = codes.cols / codes.group_size;
  AwqTensors out{.qweight = PackWords(codes.codes, codes.rows, codes.cols),
                 .qzeros = PackWords(codes.zeros, codes.rows, groups),
                 .scales = std::vector<uint16_t>(codes.scales.size())};
  for (int64_t r = 0; r < codes.rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      out.scales[g * codes.rows + r] = codes.scales[r * groups + g];
    }
  }
  return out;
}

}  // namespace kvpareto::tune
