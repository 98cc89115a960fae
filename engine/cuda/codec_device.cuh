// Tiles in the order of their elements, for device code; what an element means is the codec's own
// definition (kv/codec_list.h).
#pragma once

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

// The range of a KV head, of those from `first` on; -1: defaults.
__device__ __forceinline__ kv::StaticRange RangeOf(const kv::StaticRange* ranges, int first,
                                                   int head) {
  return first < 0 ? kv::StaticRange{} : ranges[first + head];
}

}  // namespace kvpareto::cuda
