#include "engine/cuda/gguf_groups.h"

#include <cstring>

#include "engine/base/check.h"
#include "engine/base/float16.h"

namespace kvpareto::cuda {
namespace {

// Layouts as in ops/dequantize.cc; a block writes its codes and the parameters of its groups.

int ByteAt(const std::byte* block, int offset) { return static_cast<int>(block[offset]); }

// The bits of an fp16 number.
uint16_t HalfAt(const std::byte* block, int offset) {
  uint16_t bits;
  std::memcpy(&bits, block + offset, sizeof(bits));
  return bits;
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

// Types without a minimum have a code that stands for zero.
StoredPair ScaleAndZero(const std::byte* block, int zero) {
  return {HalfAt(block, 0), FloatToF16(static_cast<float>(zero))};
}
StoredPair ScaleAndOffset(const std::byte* block) { return {HalfAt(block, 0), HalfAt(block, 2)}; }

void UnpackQ4(bool minimum, const std::byte* block, uint8_t* codes, StoredPair* groups) {
  groups[0] = minimum ? ScaleAndOffset(block) : ScaleAndZero(block, 8);
  UnpackNibbles(block + (minimum ? 4 : 2), codes);
}

void UnpackQ5(bool minimum, const std::byte* block, uint8_t* codes, StoredPair* groups) {
  groups[0] = minimum ? ScaleAndOffset(block) : ScaleAndZero(block, 16);
  const std::byte* mask = block + (minimum ? 4 : 2);
  UnpackNibbles(mask + 4, codes);
  AddFifthBits(mask, codes);
}

void UnpackQ8(const std::byte* block, uint8_t* codes, StoredPair* groups) {
  groups[0] = ScaleAndZero(block, 128);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(ByteAt(block, 2 + i) ^ 0x80);
}

// The 6-bit scale and minimum of sub-block j.
StoredPair UnpackSubScale(const std::byte* packed, int j) {
  const auto at = [&](int i) { return static_cast<unsigned>(ByteAt(packed, i)); };
  const auto pair = [](unsigned scale, unsigned minimum) {
    return StoredPair{static_cast<uint16_t>(scale), static_cast<uint16_t>(minimum)};
  };
  if (j < 4) return pair(at(j) & 63, at(j + 4) & 63);
  return pair((at(j + 4) & 15) | (at(j - 4) >> 6) << 4, (at(j + 4) >> 4) | (at(j) >> 6) << 4);
}

void UnpackQ45K(bool fifth_bit, const std::byte* block, uint8_t* codes, StoredPair* groups,
                StoredPair* super) {
  *super = {HalfAt(block, 0), HalfAt(block, 2)};
  const std::byte* const fifth = block + 16;
  const std::byte* const nibbles = block + (fifth_bit ? 48 : 16);
  for (int j = 0; j < 8; ++j) {
    groups[j] = UnpackSubScale(block + 4, j);
    for (int i = 0; i < 32; ++i) {
      int code = ByteAt(nibbles, j / 2 * 32 + i) >> j % 2 * 4 & 15;
      if (fifth_bit) code |= (ByteAt(fifth, i) >> j & 1) << 4;
      codes[j * 32 + i] = static_cast<uint8_t>(code);
    }
  }
}

void UnpackQ6K(const std::byte* block, uint8_t* codes, StoredPair* groups, StoredPair* super) {
  *super = {HalfAt(block, 208), 0};
  for (int j = 0; j < 16; ++j) groups[j].first = ByteAt(block, 192 + j) ^ 0x80;
  for (int e = 0; e < 256; ++e) {
    const int half = e / 128, quarter = e % 128 / 32, i = e % 32;
    const int low = ByteAt(block, half * 64 + quarter % 2 * 32 + i) >> quarter / 2 * 4 & 15;
    const int high = ByteAt(block, 128 + half * 32 + i) >> quarter * 2 & 3;
    codes[e] = static_cast<uint8_t>(low | high << 4);
  }
}

void UnpackBlock(TensorType type, const std::byte* block, uint8_t* codes, StoredPair* groups,
                 StoredPair* super) {
  switch (type) {
    case TensorType::kQ4_0:
    case TensorType::kQ4_1:
      return UnpackQ4(type == TensorType::kQ4_1, block, codes, groups);
    case TensorType::kQ5_0:
    case TensorType::kQ5_1:
      return UnpackQ5(type == TensorType::kQ5_1, block, codes, groups);
    case TensorType::kQ8_0:
      return UnpackQ8(block, codes, groups);
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return UnpackQ45K(type == TensorType::kQ5_K, block, codes, groups, super);
    case TensorType::kQ6_K:
      return UnpackQ6K(block, codes, groups, super);
    default:
      KVP_CHECK(false) << "not a type of codes: " << GetTensorTypeInfo(type).name;
  }
}

}  // namespace

std::optional<GroupFormat> GroupFormatOf(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return GroupFormat{4, 32, ParamKind::kHalfZero};
    case TensorType::kQ4_1:
      return GroupFormat{4, 32, ParamKind::kHalfOffset};
    case TensorType::kQ4_K:
      return GroupFormat{4, 32, ParamKind::kSuperOffset};
    case TensorType::kQ5_0:
    case TensorType::kQ8_0:
      return GroupFormat{8, 32, ParamKind::kHalfZero};
    case TensorType::kQ5_1:
      return GroupFormat{8, 32, ParamKind::kHalfOffset};
    case TensorType::kQ5_K:
      return GroupFormat{8, 32, ParamKind::kSuperOffset};
    case TensorType::kQ6_K:
      return GroupFormat{8, 16, ParamKind::kSuperZero};
    default:
      return std::nullopt;
  }
}

void UnpackRow(TensorType type, std::span<const std::byte> row, std::span<uint8_t> codes,
               std::span<StoredPair> groups, std::span<StoredPair> supers) {
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  const GroupFormat format = *GroupFormatOf(type);
  const bool has_supers = SuperBytes(format.kind) > 0;
  const std::byte* block = row.data();
  for (size_t c = 0; c < codes.size(); c += info.block_elements, block += info.block_bytes) {
    UnpackBlock(type, block, &codes[c], &groups[c / format.group],
                has_supers ? &supers[c / kSuperCols] : nullptr);
  }
}

}  // namespace kvpareto::cuda
