#include "engine/ops/dequantize.h"

#include <cstdint>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/float16.h"

namespace kvpareto {
namespace {

// Each format is a struct with its element count, its byte count and Decode(block, out). Layouts
// are ggml's (ggml-common.h); all numbers are little endian.

uint8_t ByteAt(const std::byte* block, int offset) { return static_cast<uint8_t>(block[offset]); }

uint16_t Load16(const std::byte* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

uint32_t Load32(const std::byte* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

float LoadF16(const std::byte* from) { return F16ToFloat(Load16(from)); }

struct F32 {
  static constexpr int kElements = 1, kBytes = 4;
  static void Decode(const std::byte* block, float* out) { std::memcpy(out, block, sizeof(float)); }
};

struct F16 {
  static constexpr int kElements = 1, kBytes = 2;
  static void Decode(const std::byte* block, float* out) { *out = LoadF16(block); }
};

struct Bf16 {
  static constexpr int kElements = 1, kBytes = 2;
  static void Decode(const std::byte* block, float* out) { *out = Bf16ToFloat(Load16(block)); }
};

// The blocks of 32: a nibble byte i holds element i (low) and element i + 16 (high). Five-bit
// formats keep the fifth bit of element i in bit i of a 32-bit mask.

// f16 scale, 16 nibble bytes; value = scale * (q - 8).
struct Q4_0 {
  static constexpr int kElements = 32, kBytes = 18;
  static void Decode(const std::byte* block, float* out) {
    const float scale = LoadF16(block);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block, 2 + i);
      out[i] = scale * static_cast<float>((pair & 15) - 8);
      out[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
};

// f16 scale, f16 minimum, 16 nibble bytes; value = scale * q + minimum.
struct Q4_1 {
  static constexpr int kElements = 32, kBytes = 20;
  static void Decode(const std::byte* block, float* out) {
    const float scale = LoadF16(block), minimum = LoadF16(block + 2);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block, 4 + i);
      out[i] = scale * static_cast<float>(pair & 15) + minimum;
      out[i + 16] = scale * static_cast<float>(pair >> 4) + minimum;
    }
  }
};

// f16 scale, 32-bit mask, 16 nibble bytes; value = scale * (q - 16).
struct Q5_0 {
  static constexpr int kElements = 32, kBytes = 22;
  static void Decode(const std::byte* block, float* out) {
    const float scale = LoadF16(block);
    const uint32_t high = Load32(block + 2);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block, 6 + i);
      const int first = (pair & 15) | static_cast<int>((high >> i) & 1) << 4;
      const int second = (pair >> 4) | static_cast<int>((high >> (i + 16)) & 1) << 4;
      out[i] = scale * static_cast<float>(first - 16);
      out[i + 16] = scale * static_cast<float>(second - 16);
    }
  }
};

// f16 scale, f16 minimum, 32-bit mask, 16 nibble bytes; value = scale * q + minimum.
struct Q5_1 {
  static constexpr int kElements = 32, kBytes = 24;
  static void Decode(const std::byte* block, float* out) {
    const float scale = LoadF16(block), minimum = LoadF16(block + 2);
    const uint32_t high = Load32(block + 4);
    for (int i = 0; i < 16; ++i) {
      const int pair = ByteAt(block, 8 + i);
      const int first = (pair & 15) | static_cast<int>((high >> i) & 1) << 4;
      const int second = (pair >> 4) | static_cast<int>((high >> (i + 16)) & 1) << 4;
      out[i] = scale * static_cast<float>(first) + minimum;
      out[i + 16] = scale * static_cast<float>(second) + minimum;
    }
  }
};

// f16 scale, 32 signed bytes; value = scale * q.
struct Q8_0 {
  static constexpr int kElements = 32, kBytes = 34;
  static void Decode(const std::byte* block, float* out) {
    const float scale = LoadF16(block);
    for (int i = 0; i < 32; ++i) {
      out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
    }
  }
};

// The 6-bit scale and minimum of sub-block j < 8 of Q4_K and Q5_K, packed in 12 bytes: bytes 0..3
// and 4..7 hold those of sub-blocks 0..3 in their low 6 bits; bytes 8..11 hold the low nibbles of
// sub-blocks 4..7, whose upper 2 bits are the top bits of bytes 0..3 and 4..7.
struct ScaleAndMinimum {
  int scale;
  int minimum;
};
ScaleAndMinimum UnpackScale(const std::byte* packed, int j) {
  if (j < 4) return {ByteAt(packed, j) & 63, ByteAt(packed, j + 4) & 63};
  const int low = ByteAt(packed, j + 4);
  return {(low & 15) | (ByteAt(packed, j - 4) >> 6) << 4, (low >> 4) | (ByteAt(packed, j) >> 6)
                                                                           << 4};
}

// f16 scale of scales, f16 scale of minima, 12 bytes of scales, 128 nibble bytes: of each 32 bytes
// the low nibbles are one sub-block of 32, the high ones the next.
struct Q4_K {
  static constexpr int kElements = 256, kBytes = 144;
  static void Decode(const std::byte* block, float* out) {
    const float d = LoadF16(block), d_minimum = LoadF16(block + 2);
    for (int j = 0; j < 8; ++j) {
      const ScaleAndMinimum sub = UnpackScale(block + 4, j);
      const float scale = d * static_cast<float>(sub.scale);
      const float minimum = d_minimum * static_cast<float>(sub.minimum);
      for (int i = 0; i < 32; ++i) {
        const int q = (ByteAt(block, 16 + j / 2 * 32 + i) >> (j % 2 * 4)) & 15;
        out[j * 32 + i] = scale * static_cast<float>(q) - minimum;
      }
    }
  }
};

// As Q4_K with 32 more bytes before the nibbles: bit j of byte i is the fifth bit of element i of
// sub-block j.
struct Q5_K {
  static constexpr int kElements = 256, kBytes = 176;
  static void Decode(const std::byte* block, float* out) {
    const float d = LoadF16(block), d_minimum = LoadF16(block + 2);
    for (int j = 0; j < 8; ++j) {
      const ScaleAndMinimum sub = UnpackScale(block + 4, j);
      const float scale = d * static_cast<float>(sub.scale);
      const float minimum = d_minimum * static_cast<float>(sub.minimum);
      for (int i = 0; i < 32; ++i) {
        const int low = (ByteAt(block, 48 + j / 2 * 32 + i) >> (j % 2 * 4)) & 15;
        const int q = low | ((ByteAt(block, 16 + i) >> j) & 1) << 4;
        out[j * 32 + i] = scale * static_cast<float>(q) - minimum;
      }
    }
  }
};

// 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales (one per 16 elements),
// f16 scale; value = d * scale * (q - 32). Per half of 128 elements, quarter k < 4 of 32 elements:
// its nibbles are in bytes (k % 2) * 32 + i, the low ones for k < 2; its upper bits are bits 2k of
// byte i.
struct Q6_K {
  static constexpr int kElements = 256, kBytes = 210;
  static void Decode(const std::byte* block, float* out) {
    const float d = LoadF16(block + 208);
    for (int e = 0; e < kElements; ++e) {
      const int half = e / 128, quarter = e % 128 / 32, i = e % 32;
      const int low = ByteAt(block, half * 64 + quarter % 2 * 32 + i) >> (quarter / 2 * 4) & 15;
      const int high = ByteAt(block, 128 + half * 32 + i) >> (quarter * 2) & 3;
      const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + e / 16]));
      out[e] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
};

template <typename Format>
void DecodeRow(const std::byte* blocks, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += Format::kElements, blocks += Format::kBytes) {
    Format::Decode(blocks, out.data() + i);
  }
}

}  // namespace

void DequantizeRow(TensorType type, std::span<const std::byte> blocks, std::span<float> out) {
  const TensorTypeInfo& info = GetTensorTypeInfo(type);
  KVP_CHECK(out.size() % info.block_elements == 0 &&
            blocks.size() == out.size() / info.block_elements * info.block_bytes)
      << info.name << ": " << out.size() << " elements from " << blocks.size() << " bytes";
  const std::byte* from = blocks.data();
  switch (type) {
    case TensorType::kF32:
      return DecodeRow<F32>(from, out);
    case TensorType::kF16:
      return DecodeRow<F16>(from, out);
    case TensorType::kBf16:
      return DecodeRow<Bf16>(from, out);
    case TensorType::kQ4_0:
      return DecodeRow<Q4_0>(from, out);
    case TensorType::kQ4_1:
      return DecodeRow<Q4_1>(from, out);
    case TensorType::kQ5_0:
      return DecodeRow<Q5_0>(from, out);
    case TensorType::kQ5_1:
      return DecodeRow<Q5_1>(from, out);
    case TensorType::kQ8_0:
      return DecodeRow<Q8_0>(from, out);
    case TensorType::kQ4_K:
      return DecodeRow<Q4_K>(from, out);
    case TensorType::kQ5_K:
      return DecodeRow<Q5_K>(from, out);
    case TensorType::kQ6_K:
      return DecodeRow<Q6_K>(from, out);
    case TensorType::kI32:
    case TensorType::kAwq4:
      KVP_CHECK(false) << info.name << " has no rows of blocks";
  }
}

}  // namespace kvpareto
