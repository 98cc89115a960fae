// A warp's way through a range of columns of one or two panels of 16 rows. Codes become bf16 by a
// mask (128 + code is exact), so that scales and offsets are applied to sums over a group, not to
// every weight:
//   sum x w = scale * sum x (128 + code) + (offset - 128 scale) * sum x
#pragma once

#include "engine/cuda/linear_decode.h"
#include "engine/cuda/mma.cuh"

namespace kvpareto::cuda {

inline constexpr int kLinearWarps = kColumnRanges;
inline constexpr int kLinearThreads = kLinearWarps * 32;

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
    // 2^23 + byte as a float, less 2^23.
    const float low = __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650 | first)) - 0x1p23f;
    const float high =
        __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650 | (first + 1))) - 0x1p23f;
    return PackBf16(low, high);
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

// (scale, offset) of rows g and g + 8, as they are stored.
struct GroupPair {
  float scale[2];
  float offset[2];
};
template <ParamKind kKind>
struct RawParams;
template <>
struct RawParams<ParamKind::kFloatOffset> {
  float4 v;
  __device__ __forceinline__ GroupPair Get() const { return {{v.x, v.z}, {v.y, v.w}}; }
};
template <>
struct RawParams<ParamKind::kHalfOffset> {
  uint2 v;
  __device__ __forceinline__ GroupPair Get() const {
    const float2 first = UnpackF16(v.x), second = UnpackF16(v.y);
    return {{first.x, second.x}, {first.y, second.y}};
  }
};
template <>
struct RawParams<ParamKind::kHalfZero> {
  uint2 v;
  __device__ __forceinline__ GroupPair Get() const {
    const float2 first = UnpackF16(v.x), second = UnpackF16(v.y);
    return {{first.x, second.x}, {-first.x * first.y, -second.x * second.y}};
  }
};

// What a kernel is made for. kGroupCols: columns that share parameters inside a block of columns.
template <CodeFormat kCodeFormat, ParamKind kParamKind, int kGroupCols>
struct WeightFormat {
  using C = Codes<kCodeFormat>;
  using Params = RawParams<kParamKind>;
  static constexpr CodeFormat kFormat = kCodeFormat;
  static constexpr bool kHasParams = kFormat != CodeFormat::kBf16;
  // A unit: blocks of columns that are taken at a time, and groups of columns in them.
  static constexpr int kBlocks = kFormat == CodeFormat::kInt4 ? 2 : 1;
  static constexpr int kLoads = kBlocks * C::kLoads;
  static constexpr int kGroups = kHasParams ? kBlocks * kBlockCols / kGroupCols : 1;
  static constexpr int kUnitBytes = kBlocks * 1024 * CodeBits(kFormat) / 8;  // of a panel
  static constexpr int kSteps = kBlocks * kBlockCols / kStepCols / kGroups;  // of a group
};

// Calls fn with the WeightFormat of a matrix.
template <CodeFormat kFormat, ParamKind kKind, typename Fn>
void VisitGroup(int group, Fn& fn) {
  // Of codes of 8 bits in groups of 16 (Q6_K), of 4 bits in groups of up to 128.
  constexpr int kOther = kFormat == CodeFormat::kInt8 ? 16 : 128;
  if (group == 32) return fn(WeightFormat<kFormat, kKind, 32>{});
  if (group == 64) return fn(WeightFormat<kFormat, kKind, 64>{});
  fn(WeightFormat<kFormat, kKind, kOther>{});
}
template <typename Fn>
void VisitWeightFormat(const PackedMatrix& w, Fn fn) {
  constexpr auto kHalf = ParamKind::kHalfOffset, kFloat = ParamKind::kFloatOffset;
  const bool half = w.param_kind == kHalf;
  if (w.format == CodeFormat::kBf16) return fn(WeightFormat<CodeFormat::kBf16, kHalf, 64>{});
  if (w.format == CodeFormat::kInt8) {
    return half ? VisitGroup<CodeFormat::kInt8, kHalf>(w.group, fn)
                : VisitGroup<CodeFormat::kInt8, kFloat>(w.group, fn);
  }
  if (w.param_kind == ParamKind::kHalfZero) {
    return VisitGroup<CodeFormat::kInt4, ParamKind::kHalfZero>(w.group, fn);
  }
  half ? VisitGroup<CodeFormat::kInt4, kHalf>(w.group, fn)
       : VisitGroup<CodeFormat::kInt4, kFloat>(w.group, fn);
}

// The units of a range of columns.
struct UnitRange {
  int begin = 0;
  int end = 0;
};
__host__ __device__ __forceinline__ UnitRange RangeOf(int range, int units) {
  return {range * units / kColumnRanges, (range + 1) * units / kColumnRanges};
}

// Adds kCount ranges, a power of two, as the tree does that adds all of them.
template <int kCount, typename Get>
__device__ __forceinline__ float TreeSum(const Get& get, int first = 0) {
  if constexpr (kCount == 1) {
    return get(first);
  } else {
    return TreeSum<kCount / 2>(get, first) + TreeSum<kCount / 2>(get, first + kCount / 2);
  }
}
// kTiles: of 8 tokens; kSingle: one token, in all columns of the one tile.
template <typename Format, int kTiles, int kPanels, bool kSingle>
struct Stream {
  using C = typename Format::C;
  using Params = typename Format::Params;
  static constexpr int kLoads = Format::kLoads;
  static constexpr int kGroups = Format::kGroups;

  // A lane's part of a unit of all panels.
  struct Raw {
    uint4 codes[kPanels][Format::kBlocks][C::kLoads];
    Params params[kPanels][kGroups];
  };
  // The same of a whole warp in shared memory. A lane only ever touches its own entries: so nothing
  // but its own copies has to be waited for.
  struct Slot {
    uint4 codes[kPanels][kLoads][32];
    Params params[Format::kHasParams ? kPanels * kGroups : 1][Format::kHasParams ? 32 : 1];
  };
  // Units that are copied ahead, about `bytes` of them.
  static constexpr int Depth(size_t bytes) {
    const int fit = static_cast<int>(bytes / sizeof(Slot));
    return fit < 2 ? 2 : fit > 8 ? 8 : fit;
  }

  float y[kPanels][kTiles][4] = {};

  // Where a lane's codes and parameters of the next unit stand, per panel.
  struct Source {
    const uint8_t* codes[kPanels];
    const Params* params[kPanels];
  };

  static __device__ __forceinline__ Source SourceOf(const PackedMatrix& w,
                                                    const int (&panels)[kPanels], int unit,
                                                    int lane) {
    Source source;
    const int units = w.blocks / Format::kBlocks;
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      const size_t at = size_t(panels[p]) * units + unit;
      source.codes[p] = w.codes + at * Format::kUnitBytes + LaneOffset(0, lane);
      source.params[p] =
          reinterpret_cast<const Params*>(w.params) + at * kGroups * (kPanelRows / 2) + lane / 4;
    }
    return source;
  }

  // Copies a unit and moves on to the next.
  static __device__ __forceinline__ void Copy(Source& source, int lane, Slot& slot) {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int v = 0; v < kLoads; ++v) {
        CopyAsync<16>(&slot.codes[p][v][lane], source.codes[p] + v * 512);
      }
      source.codes[p] += Format::kUnitBytes;
      if constexpr (Format::kHasParams) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
          CopyAsync<sizeof(Params)>(&slot.params[p * kGroups + i][lane],
                                    source.params[p] + i * (kPanelRows / 2));
        }
        source.params[p] += kGroups * (kPanelRows / 2);
      }
    }
  }

  static __device__ __forceinline__ void Read(const Slot& slot, int lane, Raw& raw) {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int v = 0; v < kLoads; ++v) {
        raw.codes[p][v / C::kLoads][v % C::kLoads] = slot.codes[p][v][lane];
      }
      if constexpr (Format::kHasParams) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) raw.params[p][i] = slot.params[p * kGroups + i][lane];
      }
    }
  }

  // `x(tile, step)` gives the B operand's two registers, `x_sums(tile, group)` the sums over a
  // group of columns for the lane's two tokens.
  template <typename X, typename Sums>
  __device__ __forceinline__ void Multiply(const Raw& raw, const X& x, const Sums& x_sums) {
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      // Steps of a long group in two chains: a product waits for the one before it.
      constexpr int kChains = Format::kSteps >= 8 ? 2 : 1;
      float sum[kChains][kPanels][kTiles][4] = {};
#pragma unroll
      for (int j = 0; j < Format::kSteps; ++j) {
        const int s = i * Format::kSteps + j;
        uint2 b[kTiles];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) b[n] = x(n, s);
#pragma unroll
        for (int p = 0; p < kPanels; ++p) {
          uint32_t a[4];
          C::Step(raw.codes[p][s / 4], s % 4, a);
#pragma unroll
          for (int n = 0; n < kTiles; ++n) {
            MmaBf16(Format::kHasParams ? sum[j % kChains][p][n] : y[p][n], a, b[n].x, b[n].y);
          }
        }
      }
      if constexpr (Format::kHasParams) {
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          const float2 of_x = x_sums(n, i);
#pragma unroll
          for (int p = 0; p < kPanels; ++p) {
            if constexpr (kChains == 2) {
#pragma unroll
              for (int c = 0; c < 4; ++c) sum[0][p][n][c] += sum[1][p][n][c];
            }
            Scale(raw.params[p][i].Get(), sum[0][p][n], of_x, y[p][n]);
          }
        }
      }
    }
  }

  static __device__ __forceinline__ void Scale(const GroupPair& params, const float (&sum)[4],
                                               float2 of_x, float (&to)[4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float scale = params.scale[half];
      const float offset = params.offset[half] - C::kBias * scale;
      const int c = 2 * half;
      to[c] = fmaf(scale, sum[c], fmaf(offset, of_x.x, to[c]));
      if constexpr (!kSingle) to[c + 1] = fmaf(scale, sum[c + 1], fmaf(offset, of_x.y, to[c + 1]));
    }
  }
};

}  // namespace kvpareto::cuda
