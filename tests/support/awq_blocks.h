// Matrices in AutoAWQ's "GEMM" layout, written from its definition and independent of what the
// engine reads them with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvpareto::support {

struct AwqBlocks {
  std::vector<std::byte> codes;   // int32 [cols, rows / 8]
  std::vector<std::byte> zeros;   // int32 [cols / group, rows / 8]
  std::vector<std::byte> scales;  // f16 [cols / group, rows]
  std::vector<float> values;      // [rows, cols], exact in bf16
};

// Rounds values [rows, cols] to the nearest of 16 steps between the lowest and highest of each
// group, with scales of four significant bits, so that a bf16 matrix can hold the result.
AwqBlocks QuantizeAwq(const std::vector<float>& values, int64_t rows, int64_t cols, int group_cols);

}  // namespace kvpareto::support
