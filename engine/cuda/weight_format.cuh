// What kernels are made for: how codes become bf16, and which parameters go with them.
#pragma once

#include "engine/cuda/group_params.cuh"
#include "engine/cuda/mma.cuh"
#include "engine/cuda/packed_matrix.h"

namespace kvpareto::cuda {

// Codes become bf16 by a mask where that is exact: kBias + code.
template <CodeFormat kFormat>
struct Codes;

template <>
struct Codes<CodeFormat::kInt4> {
  static constexpr int kLoads = 1;
  static constexpr float kBias = 128.0f;
  static __device__ __forceinline__ void Step(const uint4 (&raw)[1], int s, uint32_t (&a)[4]) {
    const uint32_t word = s == 0 ? raw[0].x : s == 1 ? raw[0].y : s == 2 ? raw[0].z : raw[0].w;
#pragma unroll
    for (int r = 0; r < 4; ++r) a[r] = MaskOr(word >> (4 * r), 0x000f000fu, 0x43004300u);
  }
};

template <>
struct Codes<CodeFormat::kInt8> {
  static constexpr int kLoads = 2;
  static constexpr float kBias = 0.0f;
  static __device__ __forceinline__ uint32_t Pair(uint32_t word, int first) {
    return PackBf16(ByteToFloat(word, first), ByteToFloat(word, first + 1));
  }
  static __device__ __forceinline__ void Step(const uint4 (&raw)[2], int s, uint32_t (&a)[4]) {
    const uint4& v = raw[s / 2];
    const uint32_t first = s % 2 == 0 ? v.x : v.z, second = s % 2 == 0 ? v.y : v.w;
    a[0] = Pair(first, 0);
    a[1] = Pair(first, 2);
    a[2] = Pair(second, 0);
    a[3] = Pair(second, 2);
  }
};

template <>
struct Codes<CodeFormat::kBf16> {
  static constexpr int kLoads = 4;
  static constexpr float kBias = 0.0f;
  static __device__ __forceinline__ void Step(const uint4 (&raw)[4], int s, uint32_t (&a)[4]) {
    a[0] = raw[s].x;
    a[1] = raw[s].y;
    a[2] = raw[s].z;
    a[3] = raw[s].w;
  }
};

// What a kernel is made for. kGroupCols: columns that share parameters inside a block of columns.
template <CodeFormat kCodeFormat, ParamKind kParamKind, int kGroupCols>
struct WeightFormat {
  using C = Codes<kCodeFormat>;
  using Params = StoredParams<kParamKind>;
  static constexpr CodeFormat kFormat = kCodeFormat;
  static constexpr ParamKind kKind = kParamKind;
  static constexpr bool kHasParams = kFormat != CodeFormat::kBf16;
  static constexpr bool kHasSupers = kHasParams && SuperBytes(kKind) > 0;
  // Of a unit.
  static constexpr int kBlocks = UnitBlocks(kFormat);
  static constexpr int kLoads = kBlocks * C::kLoads;
  static constexpr int kGroups = kHasParams ? kBlocks * kBlockCols / kGroupCols : 1;
  static constexpr int kUnitBytes = kBlocks * 1024 * CodeBits(kFormat) / 8;  // of a panel
  static constexpr int kUnitCols = kBlocks * kBlockCols;
  static constexpr int kSteps = kUnitCols / kStepCols / kGroups;  // of a group
  static constexpr int kUnitsPerSuper = kSuperCols / kUnitCols;

  // A lane's parameters of a unit of a panel.
  static constexpr int kGroupsBytes = kGroups * static_cast<int>(sizeof(typename Params::Group));
  struct alignas(kGroupsBytes % 16 == 0 ? 16 : 8) Groups {
    typename Params::Group of[kGroups];
  };
  using Super = typename Params::Super;
};

// Calls fn with the WeightFormat of a matrix: those that pack_matrix.cc makes.
template <typename Fn>
void VisitWeightFormat(const PackedMatrix& w, Fn fn) {
  using enum CodeFormat;
  using enum ParamKind;
  if (w.format == kBf16) return fn(WeightFormat<kBf16, kHalfOffset, 64>{});
  switch (w.param_kind) {
    case kHalfOffset:
      return w.format == kInt8 ? fn(WeightFormat<kInt8, kHalfOffset, 32>{})
                               : fn(WeightFormat<kInt4, kHalfOffset, 32>{});
    case kSuperOffset:
      return w.format == kInt8 ? fn(WeightFormat<kInt8, kSuperOffset, 32>{})
                               : fn(WeightFormat<kInt4, kSuperOffset, 32>{});
    case kSuperZero:
      return fn(WeightFormat<kInt8, kSuperZero, 16>{});
    case kHalfZero:
      break;
  }
  if (w.format == kInt8) return fn(WeightFormat<kInt8, kHalfZero, 32>{});
  if (w.group == 32) return fn(WeightFormat<kInt4, kHalfZero, 32>{});
  if (w.group == 64) return fn(WeightFormat<kInt4, kHalfZero, 64>{});
  fn(WeightFormat<kInt4, kHalfZero, 128>{});
}

// The parameters of rows g and g + 8 of a panel at a column.
template <typename Format>
__device__ __forceinline__ GroupPair LoadGroupPair(const PackedMatrix& w, int panel, int col,
                                                   int g) {
  const int unit = col / Format::kUnitCols;
  const size_t entry = (size_t(panel) * (w.blocks / Format::kBlocks) + unit) * (kPanelRows / 2) + g;
  const auto group = reinterpret_cast<const typename Format::Groups*>(w.params)[entry]
                         .of[col % Format::kUnitCols * Format::kGroups / Format::kUnitCols];
  if constexpr (Format::kHasSupers) {
    const auto* supers = reinterpret_cast<const typename Format::Super*>(w.supers);
    return Format::Params::Get(group, supers[w.SuperEntry(panel, col / kSuperCols, g) / 2]);
  } else {
    return Format::Params::Get(group, {});
  }
}

}  // namespace kvpareto::cuda
