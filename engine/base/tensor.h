// Tensors as they lie in a model file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto {

// Element formats of model files. The Q formats are GGUF's block formats.
enum class TensorType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,  // blocks of 32
  kQ4_K,
  kQ5_K,
  kQ6_K,  // super-blocks of 256
  kI32,   // no weights by themselves: codes that a checkpoint packs in words
  kAwq4,  // a matrix in AutoAWQ's "GEMM" layout (AwqGroups)
};

struct TensorTypeInfo {
  std::string_view name;  // "Q4_K"
  int block_elements = 1;
  int block_bytes = 0;
};
const TensorTypeInfo& GetTensorTypeInfo(TensorType type);

// What a kAwq4 matrix [rows, cols] has besides its codes. Columns in groups of group_cols, a
// multiple of 32, share a scale and a zero per row: value = scale * (code - zero), codes and zeros
// 0..15. A checkpoint holds the transpose, eight rows in a word: TensorView::data is int32 [cols,
// rows / 8], bits 4i..4i + 3 of word w the code of row 8 w + kAwqNibbleRow[i]; zeros likewise.
// ops/awq_rows.h takes rows out.
struct AwqGroups {
  int group_cols = 0;
  std::span<const std::byte> zeros = {};   // int32 [cols / group_cols, rows / 8]
  std::span<const std::byte> scales = {};  // f16 [cols / group_cols, rows]
};
inline constexpr int kAwqWordRows = 8;
inline constexpr int kAwqNibbleRow[kAwqWordRows] = {0, 2, 4, 6, 1, 3, 5, 7};

// A view into a mapped file. shape is outermost first: a weight is [rows = out features, cols = in
// features]; rows are contiguous and hold whole blocks (checked by the loaders).
struct TensorView {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data = {};
  // Row r of the logical tensor is stored row RowOrder(r): GGUF files of the llama architecture
  // hold Q and K rows with interleaved RoPE pairs, the engine wants halves. 0: stored in order.
  int interleaved_head_dim = 0;
  AwqGroups awq = {};  // of kAwq4

  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const { return shape.empty() ? 0 : shape.back(); }
  size_t row_bytes() const;
  // Bytes of logical row r (row order applied). Not of kAwq4, whose rows are not contiguous.
  std::span<const std::byte> Row(int64_t r) const;
};

}  // namespace kvpareto
