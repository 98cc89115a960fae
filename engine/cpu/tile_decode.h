// Decoding encoded tiles fast. The scalar definition is kv::DecodeTile; what is here gives the same
// numbers from whole registers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kv/codec.h"

namespace kvpareto::cpu {

// 32 consecutive elements of a tile: 16 pairs along the reduced index (tile.h), the unit of all
// vector code on tiles. Keys: a pair of channels of 16 tokens; values: a pair of tokens of 16
// channels. head_dim is a multiple of 16, so a granule never spans two rows of pairs.
inline constexpr int kGranule = 32;

// What a tile holds besides codes, scales and zero points.
enum class Extra : uint8_t {
  kNone,
  // Dual-axis codecs: keys have scales per channel, values per token, and decoded values are
  // multiplied by factors of the other axis.
  kFactors,
  // Smoothed codecs: means of the channels, added to decoded values.
  kMeans,
};

// How a codec stores a tile, resolved for a head size: what vector code needs to know.
struct TileFormat {
  bool fast = false;   // false: only kv::DecodeTile knows the layout
  bool codes = false;  // fast, and integer codes: products can run on them
  int bits = 16;       // without codes: 16: bf16 elements, 8: fp8 ones
  kv::Granularity granularity = kv::Granularity::kNone;
  int group_channels = 0;  // kPerToken: channels that share a scale
  int groups = 0;          // stored scales
  size_t scale_offset = 0;
  size_t zero_offset = 0;
  Extra extra = Extra::kNone;
  int factors = 0;  // fp16 numbers of `extra`
  size_t factor_offset = 0;
  // kPerTensor: the one scale and zero point; unused otherwise.
  float static_scale = 1.0f;
  float static_zero = 0.0f;
};

TileFormat DescribeTile(kv::CodecId codec, kv::Role role, int head_dim, kv::StaticRange range);

// One tile of kBlockTokens tokens.
struct DecodeTask {
  kv::CodecId codec = kv::CodecId::kBf16;
  kv::Role role = kv::Role::kKey;
  kv::StaticRange range;
  int head_dim = 0;  // a multiple of 16 up to kMaxHeadDim
  const std::byte* encoded = nullptr;
};

// Decodes to floats by granules: [elements / 32][first of pair, second of pair][16]. AVX-512 and
// AVX2.
void DecodeToFloats(const DecodeTask& task, float* out);
void DecodeToFloatsAvx2(const DecodeTask& task, float* out);

// Decodes to bf16 in element order, rounded to nearest even. Needs Isa::kAvx512Bf16.
void DecodeToBf16(const DecodeTask& task, uint16_t* out);

}  // namespace kvpareto::cpu
