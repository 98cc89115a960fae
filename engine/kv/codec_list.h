// THE list of codecs. To add one: write its type in a file of its own (bf16.h is the shortest
// example; a new bit width or granularity needs only a line in bit_packing.h or granularity.h) and
// add it at the END of CodecList. Page sizes, tests, metric labels and tuner candidates follow.
//
// What a codec type offers, all static:
//   kBits, kGranularity, kGroupChannels   as in CodecInfo
//   kLimit                                larger values saturate at it, NaN counts as 0; infinity:
//                                         every value is kept as it is
//   Name()                                as in configs and tables; host only
//   Supports(head_dim)                    whether it can store tiles of that head size
//   Regions(role, head_dim)               its byte layout
//   Encode(role, head_dim, range, from, to), At(element)   the scalar definition
//   Decode(role, head_dim, range, from, to)   what At gives, where whole tiles are cheaper at once
//   ErrorBound(element, x)                how far x, of magnitude up to kLimit and encoded without
//   a
//                                         clip, may come back from where it was: what tests check
//   kCanBeOpen                            only in codecs whose elements stand alone: CodecInfo
#pragma once

#include <cstddef>
#include <utility>

#include "engine/kv/bf16.h"
#include "engine/kv/codec.h"
#include "engine/kv/dual_codec.h"
#include "engine/kv/f32.h"
#include "engine/kv/fp8_codec.h"
#include "engine/kv/granularity.h"
#include "engine/kv/int_codec.h"
#include "engine/kv/smoothed.h"

namespace kvpareto::kv {

template <typename... Codecs>
struct TypeList {
  static constexpr int kSize = sizeof...(Codecs);
};

// CodecId is the index in this list.
using CodecList = TypeList<Bf16Codec,                             // bf16
                           IntCodec<8, PerToken<32>>,             // int8-token-g32
                           IntCodec<8, PerToken<64>>,             // int8-token-g64
                           IntCodec<8, PerToken<0>>,              // int8-token
                           IntCodec<8, PerChannel>,               // int8-channel
                           IntCodec<8, PerBlock>,                 // int8-block
                           IntCodec<8, PerTensor>,                // int8-tensor
                           IntCodec<4, PerToken<32>>,             // int4-token-g32
                           IntCodec<4, PerToken<64>>,             // int4-token-g64
                           IntCodec<4, PerToken<0>>,              // int4-token
                           IntCodec<4, PerChannel>,               // int4-channel
                           IntCodec<4, PerBlock>,                 // int4-block
                           IntCodec<4, PerTensor>,                // int4-tensor
                           IntCodec<2, PerToken<32>>,             // int2-token-g32
                           IntCodec<2, PerToken<64>>,             // int2-token-g64
                           IntCodec<2, PerToken<0>>,              // int2-token
                           IntCodec<2, PerChannel>,               // int2-channel
                           IntCodec<2, PerBlock>,                 // int2-block
                           IntCodec<2, PerTensor>,                // int2-tensor
                           IntCodec<8, PerToken<128>>,            // int8-token-g128
                           IntCodec<4, PerToken<128>>,            // int4-token-g128
                           IntCodec<2, PerToken<128>>,            // int2-token-g128
                           IntCodec<6, PerToken<0>>,              // int6-token
                           IntCodec<6, PerChannel>,               // int6-channel
                           IntCodec<3, PerToken<32>>,             // int3-token-g32
                           IntCodec<3, PerToken<0>>,              // int3-token
                           IntCodec<3, PerChannel>,               // int3-channel
                           F32Codec,                              // f32
                           Smoothed<IntCodec<8, PerToken<32>>>,   // int8-token-g32-smooth
                           Smoothed<IntCodec<8, PerToken<64>>>,   // int8-token-g64-smooth
                           Smoothed<IntCodec<8, PerToken<128>>>,  // int8-token-g128-smooth
                           Smoothed<IntCodec<4, PerToken<32>>>,   // int4-token-g32-smooth
                           Smoothed<IntCodec<4, PerToken<64>>>,   // int4-token-g64-smooth
                           Smoothed<IntCodec<4, PerToken<128>>>,  // int4-token-g128-smooth
                           Smoothed<IntCodec<2, PerToken<32>>>,   // int2-token-g32-smooth
                           Smoothed<IntCodec<2, PerToken<64>>>,   // int2-token-g64-smooth
                           Smoothed<IntCodec<2, PerToken<128>>>,  // int2-token-g128-smooth
                           DualCodec<4>,                          // int4-dual
                           DualCodec<2>,                          // int2-dual
                           Fp8Codec>;                             // fp8-e4m3

// Carries a codec type as an argument: [](auto tag) { using Codec = typename decltype(tag)::type; }
template <typename Codec>
struct CodecTag {
  using type = Codec;
};

// Calls f(CodecTag<type of `codec`>{}): the one place where a number becomes a type. Dispatch high
// up; `f` is instantiated for every codec. `codec` must be in the list.
template <typename F>
void VisitCodec(CodecId codec, F&& f) {
  [&]<typename... Codecs>(TypeList<Codecs...>) {
    int index = 0;
    (void)((index++ == static_cast<int>(codec) ? (f(CodecTag<Codecs>{}), true) : false) || ...);
  }(CodecList{});
}

}  // namespace kvpareto::kv
