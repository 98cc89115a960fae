#include "tests/support/random_blocks.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/base/float16.h"

namespace kvpareto::support {
namespace {

void Put16(std::byte* to, uint16_t bits) { std::memcpy(to, &bits, sizeof(bits)); }
void PutF16(std::byte* to, float value) { Put16(to, FloatToF16(value)); }

// Standard deviation of a uniform code of so many levels.
float CodeSigma(int levels) { return std::sqrt((levels * levels - 1) / 12.0f); }

// The mean of sub-block scales drawn from [32, 64).
constexpr float kMeanSubScale = 47.5f;

// Six-bit scale = minimum for each of 8 sub-blocks, in [32, 64), packed as Q4_K and Q5_K want it.
void PutSubScales(std::byte* packed, Random& random) {
  int scales[8];
  for (int& scale : scales) scale = 32 + random.Below(32);
  for (int j = 0; j < 4; ++j) {
    const std::byte high = static_cast<std::byte>((scales[j + 4] >> 4) << 6);
    packed[j] = packed[j + 4] = static_cast<std::byte>(scales[j]) | high;
    packed[j + 8] = static_cast<std::byte>((scales[j + 4] & 15) * 0x11);
  }
}

// Overwrites the scales of a block of random bytes.
void PutScales(TensorType type, std::byte* block, float sigma, Random& random) {
  switch (type) {
    case TensorType::kQ4_0:
      return PutF16(block, sigma / CodeSigma(16));
    case TensorType::kQ4_1:
      PutF16(block, sigma / CodeSigma(16));
      return PutF16(block + 2, -7.5f * sigma / CodeSigma(16));
    case TensorType::kQ5_0:
      return PutF16(block, sigma / CodeSigma(32));
    case TensorType::kQ5_1:
      PutF16(block, sigma / CodeSigma(32));
      return PutF16(block + 2, -15.5f * sigma / CodeSigma(32));
    case TensorType::kQ8_0:
      return PutF16(block, sigma / CodeSigma(256));
    case TensorType::kQ4_K:
    case TensorType::kQ5_K: {
      const int levels = type == TensorType::kQ4_K ? 16 : 32;
      const float scale = sigma / (kMeanSubScale * CodeSigma(levels));
      PutF16(block, scale);
      PutF16(block + 2, scale * 0.5f * static_cast<float>(levels - 1));
      return PutSubScales(block + 4, random);
    }
    case TensorType::kQ6_K:
      for (int i = 0; i < 16; ++i) block[192 + i] = static_cast<std::byte>(32 + random.Below(32));
      return PutF16(block + 208, sigma / (kMeanSubScale * CodeSigma(64)));
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBf16:
    case TensorType::kI32:
    case TensorType::kAwq4:
      KVP_CHECK(false) << "no type of blocks";
  }
}

}  // namespace

std::vector<std::byte> EncodeFloats(TensorType type, const std::vector<float>& values) {
  const int element_bytes = GetTensorTypeInfo(type).block_bytes;
  std::vector<std::byte> bytes(values.size() * element_bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    std::byte* to = bytes.data() + i * element_bytes;
    switch (type) {
      case TensorType::kF32:
        std::memcpy(to, &values[i], sizeof(float));
        break;
      case TensorType::kF16:
        PutF16(to, values[i]);
        break;
      case TensorType::kBf16:
        Put16(to, FloatToBf16(values[i]));
        break;
      default:
        KVP_CHECK(false) << "not a float type: " << GetTensorTypeInfo(type).name;
    }
  }
  return bytes;
}

std::vector<std::byte> RandomBlocks(TensorType type, int64_t elements, float sigma,
                                    Random& random) {
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  KVP_CHECK(elements % info.block_elements == 0) << elements << " elements of " << info.name;
  if (info.block_elements == 1) {
    std::vector<float> values(elements);
    for (float& value : values) value = sigma * random.Gauss();
    return EncodeFloats(type, values);
  }
  std::vector<std::byte> bytes(elements / info.block_elements * info.block_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Bits());
  for (size_t at = 0; at < bytes.size(); at += info.block_bytes) {
    PutScales(type, bytes.data() + at, sigma, random);
  }
  return bytes;
}

}  // namespace kvpareto::support
