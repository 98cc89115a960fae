// The codes of sealed tiles, as a lane reads them from shared memory and hands them to tensor
// cores.
//
// Codes enter the products as fp16 numbers 1024 + code * 2^shift, made by one byte permutation and
// one mask: the pair of codes of two neighbouring elements (tile.h) is one register of an A
// operand.
#pragma once

#include "engine/cuda/mma.cuh"
#include "engine/kv/bit_packing.h"

namespace kvpareto::cuda {

constexpr float kCodeBias = 1024.0f;

// Bits per code of the plane that says where a code stands: all of them, or those of the low plane
// (bit_packing.h).
constexpr int LowBits(int bits) { return bits == 6 ? 4 : bits == 3 ? 2 : bits; }

// Two neighbouring codes of `word`: bytes 2 half and 2 half + 1, of each the kBits bits from
// `shift` on.
template <int kBits>
__device__ __forceinline__ uint32_t ExpandCodes(uint32_t word, int shift, int half) {
  const uint32_t spread = __byte_perm(word, 0x64646464u, half == 0 ? 0x4140 : 0x4342);
  if constexpr (kBits == 8) return spread;
  const uint32_t mask = ((1u << kBits) - 1) << shift;
  return spread & (0xff00ff00u | mask | mask << 16);
}

template <int kWords>
__device__ __forceinline__ void ReadShared(const std::byte* from, uint32_t* to) {
  static_assert(kWords == 1 || kWords == 2 || kWords == 4);
  if constexpr (kWords == 1) {
    to[0] = *reinterpret_cast<const uint32_t*>(from);
  } else if constexpr (kWords == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    to[0] = v.x, to[1] = v.y;
  } else {
    const uint4 v = *reinterpret_cast<const uint4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  }
}

// What one of eight lanes, g, holds of a row of keys or values: kWords words, kLoad at a time, each
// time the g-th of the eight pieces of kLoad words. Byte b of word w holds 8 / LowBits codes, from
// its lowest bits up.
template <int kBits, int kWords, int kLoad>
struct LaneCodes {
  uint32_t low[kWords];

  __device__ __forceinline__ void Read(const std::byte* row, int g) {
#pragma unroll
    for (int w = 0; w < kWords; w += kLoad) {
      ReadShared<kLoad>(row + w * 32 + g * 4 * kLoad, low + w);
    }
  }
  // The codes numbered `sub` of bytes 2 half and 2 half + 1 of a word.
  __device__ __forceinline__ uint32_t Pair(int word, int sub, int half) const {
    return ExpandCodes<kBits>(low[word], ShiftOf(sub), half);
  }
  static constexpr __device__ int ShiftOf(int sub) { return sub * kBits; }
};

template <int kWords, int kLoad>
struct LaneCodes<6, kWords, kLoad> {
  using Packing = kv::BitPacking<6>;
  uint32_t low[kWords];
  uint32_t high[kWords];  // of byte b's two codes: bits 0-1 and 2-3 of byte b

  __device__ __forceinline__ void Read(const std::byte* row, int g) {
#pragma unroll
    for (int w = 0; w < kWords; w += kLoad) {
      // Two times 32 bytes of low bits share the 32 bytes of high bits.
      const int at = w * 32 + g * 4 * kLoad, in_unit = at % Packing::kHighPlane;
      const std::byte* const unit = row + at / Packing::kHighPlane * Packing::kUnitBytes;
      ReadShared<kLoad>(unit + in_unit, low + w);
      ReadShared<kLoad>(unit + Packing::kHighPlane + in_unit % 32, high + w);
#pragma unroll
      for (int i = w; i < w + kLoad; ++i) high[i] >>= in_unit / 32 * 4;
    }
  }
  __device__ __forceinline__ uint32_t Pair(int word, int sub, int half) const {
    const uint32_t codes =
        (low[word] >> 4 * sub & 0x0f0f0f0fu) | (high[word] << (4 - 2 * sub) & 0x30303030u);
    return ExpandCodes<8>(codes, 0, half);
  }
  static constexpr __device__ int ShiftOf(int /*sub*/) { return 0; }
};

template <int kWords, int kLoad>
struct LaneCodes<3, kWords, kLoad> {
  using Packing = kv::BitPacking<3>;
  uint32_t low[kWords];
  uint32_t high[kWords / kLoad][4];  // [][sub]: bit 4 w + b of byte b of word w of a load

  __device__ __forceinline__ void Read(const std::byte* row, int g) {
#pragma unroll
    for (int w = 0; w < kWords; w += kLoad) {
      const int at = w * 32 + g * 4 * kLoad, in_unit = at % Packing::kHighPlane;
      const std::byte* const unit = row + at / Packing::kHighPlane * Packing::kUnitBytes;
      ReadShared<kLoad>(unit + in_unit, low + w);
      ReadShared<4>(unit + Packing::kHighPlane, high[w / kLoad]);
#pragma unroll
      for (uint32_t& bits : high[w / kLoad]) bits >>= in_unit;
    }
  }
  __device__ __forceinline__ uint32_t Pair(int word, int sub, int half) const {
    // The product has bit b of the four in bit 2 of byte b; none of its sums carries.
    const uint32_t bits = high[word / kLoad][sub] >> word % kLoad * 4 & 15;
    const uint32_t codes =
        (low[word] >> 2 * sub & 0x03030303u) | (bits * 0x00810204u & 0x04040404u);
    return ExpandCodes<8>(codes, 0, half);
  }
  static constexpr __device__ int ShiftOf(int /*sub*/) { return 0; }
};

// The keys of a lane: row g of score tile i is token TokenOf(i, g), kBits in a row per lane and
// code of a byte. kBits: LowBits of the keys.
template <int kBits>
struct TokenOrder {
  static constexpr int kBytes = 2 * kBits;  // of a lane in a row of keys
  static constexpr int kPerByte = 8 / kBits;
  // First of the kBits tokens whose codes begin at bit `sub * kBits` of row g's bytes.
  static __device__ __forceinline__ int First(int sub, int g) {
    const int unit = g * kBytes / 32, in_unit = g * kBytes % 32;
    return unit * (128 / kBits) + sub * 16 + in_unit / 2;
  }
  static __device__ __forceinline__ int TokenOf(int i, int g) {
    return First(i / kBits, g) + i % kBits;
  }
};

// The fp16 or int16 parameters of a lane's eight tokens.
template <int kBits>
struct TokenParams {
  static constexpr int kWords = kBits / 2;
  uint32_t raw[8 / kBits][kWords];

  __device__ __forceinline__ void Load(const std::byte* from, int g) {
#pragma unroll
    for (int sub = 0; sub < 8 / kBits; ++sub) {
      ReadShared<kWords>(from + 2 * TokenOrder<kBits>::First(sub, g), raw[sub]);
    }
  }
  __device__ __forceinline__ float AsF16(int i) const {
    const float2 pair = UnpackF16(raw[i / kBits][i % kBits / 2]);
    return i % 2 == 0 ? pair.x : pair.y;
  }
  __device__ __forceinline__ float AsInt(int i) const {
    const float2 pair = Int16ToFloat(raw[i / kBits][i % kBits / 2]);
    return i % 2 == 0 ? pair.x : pair.y;
  }
};

}  // namespace kvpareto::cuda
