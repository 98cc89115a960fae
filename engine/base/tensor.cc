#include "engine/base/tensor.h"

#include <array>

#include "engine/base/check.h"

namespace kvpareto {

const TensorTypeInfo& GetTensorTypeInfo(TensorType type) {
  // By enumerator. Bytes of a block: scales and minima are f16, K formats pack theirs in 6 bits.
  static constexpr std::array<TensorTypeInfo, 13> kInfos = {{
      {"F32", 1, 4},
      {"F16", 1, 2},
      {"BF16", 1, 2},
      {"Q4_0", 32, 2 + 16},
      {"Q4_1", 32, 2 + 2 + 16},
      {"Q5_0", 32, 2 + 4 + 16},
      {"Q5_1", 32, 2 + 2 + 4 + 16},
      {"Q8_0", 32, 2 + 32},
      {"Q4_K", 256, 2 + 2 + 12 + 128},
      {"Q5_K", 256, 2 + 2 + 12 + 32 + 128},
      {"Q6_K", 256, 128 + 64 + 16 + 2},
      {"I32", 1, 4},
      {"AWQ4", 8, 4},
  }};
  const size_t index = static_cast<size_t>(type);
  KVP_CHECK(index < kInfos.size()) << "tensor type " << index;
  return kInfos[index];
}

size_t TensorView::row_bytes() const {
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  return static_cast<size_t>(cols()) / info.block_elements * info.block_bytes;
}

std::span<const std::byte> TensorView::Row(int64_t r) const {
  KVP_CHECK(type != TensorType::kAwq4 && r >= 0 && r < rows())
      << name << " row " << r << " of " << rows();
  int64_t stored = r;
  if (interleaved_head_dim > 0) {
    // Inside each head the file alternates the two halves: first, second, first, second...
    const int64_t half = interleaved_head_dim / 2;
    const int64_t within = r % interleaved_head_dim;
    stored = r - within + (within < half ? 2 * within : 2 * (within - half) + 1);
  }
  return data.subspan(static_cast<size_t>(stored) * row_bytes(), row_bytes());
}

}  // namespace kvpareto
