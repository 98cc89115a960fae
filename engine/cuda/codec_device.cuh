// The codecs of kv/codec_list.h one element at a time, for device code: which parameters an element
// has is the codec's own definition, only the order of the loops is ours.
#pragma once

#include "engine/base/float16.h"
#include "engine/kv/codec_list.h"

namespace kvpareto::cuda {

// Where an element of a tile stands.
struct Place {
  int token = 0;
  int channel = 0;
};
constexpr Place PlaceOfElement(kv::Role role, int element, int head_dim) {
  if (role == kv::Role::kKey) {
    return {element / 2 % kv::kBlockTokens, element / 2 / kv::kBlockTokens * 2 + element % 2};
  }
  return {element / 2 / head_dim * 2 + element % 2, element / 2 % head_dim};
}

struct TileView {
  kv::Role role = kv::Role::kKey;
  int head_dim = 0;
  kv::StaticRange range;
  const std::byte* encoded = nullptr;
};

// ElementDecoder<Codec>::At(tile, place): the value that Codec::Decode gives.
template <typename Codec>
struct ElementDecoder {
  static __device__ float At(const TileView& tile, Place place) {
    return Codec::At({.role = tile.role,
                      .head_dim = tile.head_dim,
                      .range = tile.range,
                      .encoded = tile.encoded,
                      .token = place.token,
                      .channel = place.channel});
  }
};

template <int kBits, typename Policy>
struct ElementDecoder<kv::IntCodec<kBits, Policy>> {
  using Codec = kv::IntCodec<kBits, Policy>;
  static __device__ float At(const TileView& tile, Place place) {
    const int element =
        kv::ElementIndex(tile.role, place.token, place.channel, kv::kBlockTokens, tile.head_dim);
    const int group = Policy::GroupOf(place.token, place.channel, tile.head_dim);
    return kv::Dequantize(Codec::Packing::Get(tile.encoded, element),
                          Codec::LoadParams(tile.head_dim, tile.range, tile.encoded, group));
  }
};

__device__ inline float FactorAt(const std::byte* encoded, const kv::TileRegions& regions,
                                 int index) {
  return F16ToFloat(kv::LoadU16(encoded + regions.factor_offset, index));
}

template <typename Inner>
struct ElementDecoder<kv::Smoothed<Inner>> {
  static __device__ float At(const TileView& tile, Place place) {
    const kv::TileRegions regions = kv::Smoothed<Inner>::Regions(tile.role, tile.head_dim);
    return ElementDecoder<Inner>::At(tile, place) + FactorAt(tile.encoded, regions, place.channel);
  }
};

template <int kBits>
struct ElementDecoder<kv::DualCodec<kBits>> {
  using Codec = kv::DualCodec<kBits>;
  static __device__ float At(const TileView& tile, Place place) {
    const kv::TileRegions regions = Codec::Regions(tile.role, tile.head_dim);
    return tile.role == kv::Role::kKey ? ElementDecoder<typename Codec::Keys>::At(tile, place) *
                                             FactorAt(tile.encoded, regions, place.token)
                                       : ElementDecoder<typename Codec::Values>::At(tile, place) *
                                             FactorAt(tile.encoded, regions, place.channel);
  }
};

template <>
struct ElementDecoder<kv::Bf16Codec> {
  static __device__ float At(const TileView& tile, Place place) {
    return Bf16ToFloat(reinterpret_cast<const uint16_t*>(tile.encoded)[kv::ElementIndex(
        tile.role, place.token, place.channel, kv::kBlockTokens, tile.head_dim)]);
  }
};

template <>
struct ElementDecoder<kv::F32Codec> {
  static __device__ float At(const TileView& tile, Place place) {
    return reinterpret_cast<const float*>(tile.encoded)[kv::ElementIndex(
        tile.role, place.token, place.channel, kv::kBlockTokens, tile.head_dim)];
  }
};

}  // namespace kvpareto::cuda
