// Scales and offsets of weights, from what packed_matrix.h says is stored of them.
#pragma once

#include "engine/cuda/mma.cuh"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

// Of rows g and g + 8.
struct GroupPair {
  float scale[2];
  float offset[2];
};

struct Nothing {};

// What is stored for rows g and g + 8, of a group and of its super-block.
template <ParamKind kKind>
struct StoredParams;

// Two fp16 numbers for each row.
struct HalfPairs {
  using Group = uint2;
  using Super = Nothing;
};

template <>
struct StoredParams<ParamKind::kHalfOffset> : HalfPairs {
  static __device__ __forceinline__ GroupPair Get(uint2 group, Nothing) {
    const float2 first = UnpackF16(group.x), second = UnpackF16(group.y);
    return {{first.x, second.x}, {first.y, second.y}};
  }
};

template <>
struct StoredParams<ParamKind::kHalfZero> : HalfPairs {
  static __device__ __forceinline__ GroupPair Get(uint2 group, Nothing) {
    const GroupPair pair = StoredParams<ParamKind::kHalfOffset>::Get(group, {});
    return {{pair.scale[0], pair.scale[1]},
            {-pair.scale[0] * pair.offset[0], -pair.scale[1] * pair.offset[1]}};
  }
};

template <>
struct StoredParams<ParamKind::kSuperOffset> {
  using Group = uint32_t;
  using Super = uint2;
  static __device__ __forceinline__ GroupPair Get(uint32_t group, uint2 super) {
    const float2 first = UnpackF16(super.x), second = UnpackF16(super.y);
    return {{first.x * ByteToFloat(group, 0), second.x * ByteToFloat(group, 2)},
            {-first.y * ByteToFloat(group, 1), -second.y * ByteToFloat(group, 3)}};
  }
};

template <>
struct StoredParams<ParamKind::kSuperZero> {
  using Group = uint16_t;
  using Super = uint32_t;
  static __device__ __forceinline__ GroupPair Get(uint16_t group, uint32_t super) {
    const float2 d = UnpackF16(super);
    const float first = d.x * (ByteToFloat(group, 0) - 128.0f);
    const float second = d.y * (ByteToFloat(group, 1) - 128.0f);
    return {{first, second}, {-32.0f * first, -32.0f * second}};
  }
};

}  // namespace kvpareto::cuda
