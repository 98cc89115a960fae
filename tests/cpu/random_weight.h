// Random tensors in every file format, with sane scales, from a fixed seed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/base/float16.h"
#include "engine/base/tensor.h"
#include "engine/ops/dequantize.h"

namespace kvpareto::cpu {

inline constexpr TensorType kAllTypes[] = {TensorType::kF32,  TensorType::kF16,  TensorType::kBf16,
                                           TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                           TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                                           TensorType::kQ5_K, TensorType::kQ6_K};

inline bool IsFloat(TensorType type) { return type <= TensorType::kBf16; }

struct RandomTensor {
  std::vector<std::byte> storage;
  TensorView view;
  std::vector<float> awq_values = {};  // of kAwq4 (random_awq.h)

  // Rows as DequantizeRow has them; float matrices rounded to bf16, as backends hold them.
  std::vector<float> Decode() const {
    if (view.type == TensorType::kAwq4) return awq_values;
    std::vector<float> values(view.rows() * view.cols());
    for (int64_t r = 0; r < view.rows(); ++r) {
      DequantizeRow(view.type, view.Row(r),
                    std::span(values).subspan(r * view.cols(), view.cols()));
    }
    if (IsFloat(view.type)) {
      for (float& v : values) v = Bf16ToFloat(FloatToBf16(v));
    }
    return values;
  }
};

// Byte offsets of the f16 numbers in a block; all other bytes may be anything.
inline std::vector<int> HalfOffsets(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ5_0:
    case TensorType::kQ8_0:
      return {0};
    case TensorType::kQ6_K:
      return {208};
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBf16:
      return {};
    default:
      return {0, 2};
  }
}

inline RandomTensor MakeRandomTensor(TensorType type, int rows, int cols, uint32_t seed,
                                     int interleaved_head_dim = 0) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  RandomTensor tensor;
  tensor.view = {.name = "random",
                 .type = type,
                 .shape = {rows, cols},
                 .data = {},
                 .interleaved_head_dim = interleaved_head_dim};
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  tensor.storage.resize(tensor.view.row_bytes() * rows);
  if (IsFloat(type)) {
    for (size_t i = 0; i < static_cast<size_t>(rows) * cols; ++i) {
      const float value = normal(rng);
      const uint16_t half = type == TensorType::kF16 ? FloatToF16(value) : FloatToBf16(value);
      std::byte* to = tensor.storage.data() + i * info.block_bytes;
      std::memcpy(to, type == TensorType::kF32 ? static_cast<const void*>(&value) : &half,
                  info.block_bytes);
    }
  } else {
    for (std::byte& byte : tensor.storage) byte = static_cast<std::byte>(rng() & 0xff);
    for (size_t block = 0; block < tensor.storage.size(); block += info.block_bytes) {
      for (const int offset : HalfOffsets(type)) {
        const uint16_t half = FloatToF16(normal(rng) / 16.0f);
        std::memcpy(tensor.storage.data() + block + offset, &half, sizeof(half));
      }
    }
  }
  tensor.view.data = tensor.storage;
  return tensor;
}

inline std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  std::generate(values.begin(), values.end(), [&] { return normal(rng); });
  return values;
}

}  // namespace kvpareto::cpu
