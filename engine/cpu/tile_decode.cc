#include "engine/cpu/tile_decode.h"

#include <type_traits>

#include "engine/kv/codec_list.h"

namespace kvpareto::cpu {

TileFormat DescribeTile(kv::CodecId codec, kv::Role role, int head_dim, kv::StaticRange range) {
  TileFormat format;
  kv::VisitCodec(codec, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    format.bits = Codec::kBits;
    format.granularity = Codec::kGranularity;
    format.group_channels = Codec::kGroupChannels == 0 ? head_dim : Codec::kGroupChannels;
    const kv::TileRegions regions = Codec::Regions(role, head_dim);
    format.groups = regions.groups;
    format.scale_offset = regions.scale_offset;
    format.zero_offset = regions.zero_offset;
    format.factors = regions.factors;
    format.factor_offset = regions.factor_offset;
    if constexpr (std::is_same_v<Codec, kv::Bf16Codec> || std::is_same_v<Codec, kv::Fp8Codec>) {
      format.fast = head_dim % 16 == 0;
    } else if constexpr (requires { typename Codec::Packing; }) {
      format.fast = format.codes = head_dim % 16 == 0 && format.group_channels % 16 == 0;
      if constexpr (requires { Codec::StaticParams(range); }) {
        const kv::QuantParams params = Codec::StaticParams(range);
        format.static_scale = params.scale;
        format.static_zero = static_cast<float>(params.zero);
      }
    }
  });
  if (format.factors > 0) format.extra = Extra::kMeans;
  if (format.granularity == kv::Granularity::kDual) {
    format.extra = Extra::kFactors;
    format.granularity =
        role == kv::Role::kKey ? kv::Granularity::kPerChannel : kv::Granularity::kPerToken;
  }
  return format;
}

}  // namespace kvpareto::cpu
