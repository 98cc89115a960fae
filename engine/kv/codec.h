// Codecs by number: what the rest of the engine calls. Each codec is one type in one file (bf16.h,
// int_codec.h); codec_list.h lists them, and everything here follows from that list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engine/kv/tile.h"

namespace kvpareto::kv {

// Index into the codec list; named are those that can be open.
enum class CodecId : uint8_t { kBf16 = 0, kF32 = 27 };

// Which elements of a tile share one scale and zero point.
enum class Granularity : uint8_t {
  kNone,        // no scales
  kPerToken,    // `group_channels` consecutive channels of one token
  kPerChannel,  // one channel over the tile's tokens
  kPerBlock,    // the whole tile
  kPerTensor,   // layer and head: a static range from calibration; nothing stored in the tile
  kDual,        // channels and tokens: a scale on both axes (dual_codec.h)
};

// What is known beforehand of the tiles of one (layer, KV head, role). Codecs with kPerTensor
// granularity take their range from here; codecs that store scales shrink the range they fit to the
// share `clip` of its width, about its middle (1: all of it).
struct StaticRange {
  float min = 0.0f;
  float max = 0.0f;
  float clip = 1.0f;
};

struct CodecInfo {
  std::string_view name;  // as in configs, tables and metric labels: "int4-token-g32"
  int bits = 16;          // per stored code
  Granularity granularity = Granularity::kNone;
  int group_channels = 0;  // kPerToken only; 0 means head_dim
  bool needs_static_range = false;
  bool can_be_open = false;  // tokens can be stored one by one, in tiles of any height
};

int NumCodecs();
const CodecInfo& GetCodecInfo(CodecId codec);
std::optional<CodecId> FindCodec(std::string_view name);

// Whether the codec can store tiles of this head size (a group must divide it; bit planes fill
// whole bytes).
bool CodecSupports(CodecId codec, int head_dim);

// Bytes of one encoded tile of kBlockTokens tokens: codes, then scales and zero points in a region
// of their own; a multiple of kRegionAlignment.
size_t TileBytes(CodecId codec, Role role, int head_dim);

// Where things stand inside an encoded tile: codes from 0, then scales as fp16 [groups] and zero
// points as int16 [groups], then what some codecs store besides, fp16 [factors]. int_codec.h,
// smoothed.h and dual_codec.h draw it. groups is 0 for codecs that store no scales.
struct TileRegions {
  size_t code_bytes = 0;
  int groups = 0;
  size_t scale_offset = 0;
  size_t zero_offset = 0;
  int factors = 0;
  size_t factor_offset = 0;
  size_t bytes = 0;  // of the tile
};

// Those of a codec that stores `bits` per element and nothing else.
constexpr TileRegions FlatRegions(int bits, int head_dim) {
  const size_t code_bytes = size_t{1} * kBlockTokens * head_dim * bits / 8;
  return {.code_bytes = code_bytes,
          .scale_offset = AlignUp(code_bytes),
          .zero_offset = AlignUp(code_bytes),
          .bytes = AlignUp(code_bytes)};
}

// One element of an encoded tile.
struct TileElement {
  Role role = Role::kKey;
  int head_dim = 0;
  StaticRange range;
  const std::byte* encoded = nullptr;
  int token = 0;
  int channel = 0;

  constexpr int index() const { return ElementIndex(role, token, channel, kBlockTokens, head_dim); }
};

TileRegions GetTileRegions(CodecId codec, Role role, int head_dim);

// Stored bits per element of a tile, scales and padding included.
double BitsPerElement(CodecId codec, Role role, int head_dim);

// The scalar definitions. `tile` is [kBlockTokens, head_dim] row-major floats; `encoded` has
// TileBytes bytes, aligned to kRegionAlignment. Encode never fails: in codecs with a largest
// magnitude infinities saturate and NaN counts as 0 (quantizer.h); bf16 and f32 keep both.
void EncodeTile(CodecId codec, Role role, int head_dim, StaticRange range, const float* tile,
                std::byte* encoded);
void DecodeTile(CodecId codec, Role role, int head_dim, StaticRange range, const std::byte* encoded,
                float* tile);

}  // namespace kvpareto::kv
