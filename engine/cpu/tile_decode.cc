#include "engine/cpu/tile_decode.h"

#include "engine/kv/codec_list.h"

namespace kvpareto::cpu {

TileFormat DescribeTile(kv::CodecId codec, int head_dim, kv::StaticRange range) {
  TileFormat format;
  kv::VisitCodec(codec, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    format.bits = Codec::kBits;
    format.granularity = Codec::kGranularity;
    format.group_channels = Codec::kGroupChannels == 0 ? head_dim : Codec::kGroupChannels;
    format.groups = Codec::Groups(head_dim);
    format.scale_offset = Codec::ScaleOffset(head_dim);
    format.zero_offset = Codec::ZeroOffset(head_dim);
    if constexpr (Codec::kBits == 16) {
      format.fast = true;
    } else if constexpr (requires { typename Codec::Packing; }) {
      format.fast = head_dim % 16 == 0 && format.group_channels % 16 == 0;
      if constexpr (Codec::kStaticRange) {
        const kv::QuantParams params = Codec::StaticParams(range);
        format.static_scale = params.scale;
        format.static_zero = static_cast<float>(params.zero);
      }
    }
  });
  return format;
}

}  // namespace kvpareto::cpu
