#include "engine/cuda/gguf_groups.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/base/float16.h"

namespace kvpareto::cuda {
namespace {

// Layouts as in ops/dequantize.cc; a block writes its codes and the parameters of its groups.

int ByteAt(const std::byte* block, int offset) { return static_cast<int>(block[offset]); }

float LoadF16(const std::byte* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof(value));
  return F16ToFloat(value);
}

// 16 nibble bytes: element i low, element 16 + i high.
void UnpackNibbles(const std::byte* nibbles, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = ByteAt(nibbles, i) & 15;
    codes[16 + i] = ByteAt(nibbles, i) >> 4;
  }
}

void AddFifthBits(const std::byte* mask, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] |= (ByteAt(mask, i / 8) >> i % 8 & 1) << 4;
}

void UnpackQ4(bool minimum, const std::byte* block, uint8_t* codes, GroupParams* params) {
  const float scale = LoadF16(block);
  params[0] = {scale, minimum ? LoadF16(block + 2) : -8.0f * scale};
  UnpackNibbles(block + (minimum ? 4 : 2), codes);
}

void UnpackQ5(bool minimum, const std::byte* block, uint8_t* codes, GroupParams* params) {
  const float scale = LoadF16(block);
  params[0] = {scale, minimum ? LoadF16(block + 2) : -16.0f * scale};
  const std::byte* mask = block + (minimum ? 4 : 2);
  UnpackNibbles(mask + 4, codes);
  AddFifthBits(mask, codes);
}

void UnpackQ8(const std::byte* block, uint8_t* codes, GroupParams* params) {
  const float scale = LoadF16(block);
  params[0] = {scale, -128.0f * scale};
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(ByteAt(block, 2 + i) ^ 0x80);
}

struct SubScale {
  int scale;
  int minimum;
};
SubScale UnpackSubScale(const std::byte* packed, int j) {
  if (j < 4) return {ByteAt(packed, j) & 63, ByteAt(packed, j + 4) & 63};
  const int low = ByteAt(packed, j + 4);
  return {(low & 15) | (ByteAt(packed, j - 4) >> 6) << 4, (low >> 4) | (ByteAt(packed, j) >> 6)
                                                                           << 4};
}

void UnpackQ45K(bool fifth_bit, const std::byte* block, uint8_t* codes, GroupParams* params) {
  const float d = LoadF16(block), d_minimum = LoadF16(block + 2);
  const std::byte* const fifth = block + 16;
  const std::byte* const nibbles = block + (fifth_bit ? 48 : 16);
  for (int j = 0; j < 8; ++j) {
    const SubScale sub = UnpackSubScale(block + 4, j);
    params[j] = {d * static_cast<float>(sub.scale), -d_minimum * static_cast<float>(sub.minimum)};
    for (int i = 0; i < 32; ++i) {
      int code = ByteAt(nibbles, j / 2 * 32 + i) >> j % 2 * 4 & 15;
      if (fifth_bit) code |= (ByteAt(fifth, i) >> j & 1) << 4;
      codes[j * 32 + i] = static_cast<uint8_t>(code);
    }
  }
}

void UnpackQ6K(const std::byte* block, uint8_t* codes, GroupParams* params) {
  const float d = LoadF16(block + 208);
  for (int j = 0; j < 16; ++j) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + j]));
    params[j] = {scale, -32.0f * scale};
  }
  for (int e = 0; e < 256; ++e) {
    const int half = e / 128, quarter = e % 128 / 32, i = e % 32;
    const int low = ByteAt(block, half * 64 + quarter % 2 * 32 + i) >> quarter / 2 * 4 & 15;
    const int high = ByteAt(block, 128 + half * 32 + i) >> quarter * 2 & 3;
    codes[e] = static_cast<uint8_t>(low | high << 4);
  }
}

void UnpackBlock(TensorType type, const std::byte* block, uint8_t* codes, GroupParams* params) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
      return UnpackQ4(type == TensorType::kQ4_1, block, codes, params);
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
      return UnpackQ5(type == TensorType::kQ5_1, block, codes, params);
    case TensorType::kQ8_0:
      return UnpackQ8(block, codes, params);
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return UnpackQ45K(type == TensorType::kQ5_K, block, codes, params);
    case TensorType::kQ6_K:
      return UnpackQ6K(block, codes, params);
    default:
      KVP_CHECK(false) << "not a type of codes: " << GetTensorTypeInfo(type).name;
  }
}

}  // namespace

std::optional<GroupFormat> GroupFormatOf(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
    case TensorType::kQ4_K:
      return GroupFormat{4, 32};
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
    case TensorType::kQ8_0:
    case TensorType::kQ5_K:
      return GroupFormat{8, 32};
    case TensorType::kQ6_K:
      return GroupFormat{8, 16};
    default:
      return std::nullopt;
  }
}

void UnpackRow(TensorType type, std::span<const std::byte> row, std::span<uint8_t> codes,
               std::span<GroupParams> params) {
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  const int group = GroupFormatOf(type)->group;
  const std::byte* block = row.data();
  for (size_t c = 0; c < codes.size(); c += info.block_elements, block += info.block_bytes) {
    UnpackBlock(type, block, &codes[c], &params[c / group]);
  }
}

}  // namespace kvpareto::cuda
