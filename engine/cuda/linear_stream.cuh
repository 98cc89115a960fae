// A warp's way through a range of columns of one or two panels of 16 rows. Codes become bf16 by a
// mask (128 + code is exact), so that scales and offsets are applied to sums over a group, not to
// every weight:
//   sum x w = scale * sum x (128 + code) + (offset - 128 scale) * sum x
#pragma once

#include <type_traits>

#include "engine/cuda/linear_decode.h"
#include "engine/cuda/mma.cuh"
#include "engine/cuda/weight_format.cuh"

namespace kvpareto::cuda {

inline constexpr int kLinearWarps = kColumnRanges;
inline constexpr int kLinearThreads = kLinearWarps * 32;

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

// The parameters of a whole warp in shared memory.
template <typename Format, int kPanels, bool kHasSupers = Format::kHasSupers>
struct SlotParams {
  typename Format::Groups groups[kPanels][32];
};
template <typename Format, int kPanels>
struct SlotParams<Format, kPanels, true> {
  typename Format::Groups groups[kPanels][32];
  typename Format::Super supers[kPanels][32];
};

// kTiles: of 8 tokens; kSingle: one token, in all columns of the one tile.
template <typename Format, int kTiles, int kPanels, bool kSingle>
struct Stream {
  using C = typename Format::C;
  using Groups = typename Format::Groups;
  using Super = typename Format::Super;
  static constexpr int kLoads = Format::kLoads;
  static constexpr int kGroups = Format::kGroups;

  // A lane's part of a unit of all panels.
  struct Raw {
    uint4 codes[kPanels][Format::kBlocks][C::kLoads];
    Groups groups[kPanels];
    Super supers[kPanels];
  };
  // The same of a whole warp in shared memory. A lane only ever touches its own entries: so nothing
  // but its own copies has to be waited for.
  struct NoParams {};
  struct Slot : std::conditional_t<Format::kHasParams, SlotParams<Format, kPanels>, NoParams> {
    uint4 codes[kPanels][kLoads][32];
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
    const Groups* groups[kPanels];
    const Super* supers[kPanels];
    int unit;
  };

  static __device__ __forceinline__ Source SourceOf(const PackedMatrix& w,
                                                    const int (&panels)[kPanels], int unit,
                                                    int lane) {
    Source source;
    source.unit = unit;
    const int units = w.blocks / Format::kBlocks, g = lane / 4;
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      const size_t at = size_t(panels[p]) * units + unit;
      source.codes[p] = w.codes + at * Format::kUnitBytes + LaneOffset(0, lane);
      source.groups[p] = reinterpret_cast<const Groups*>(w.params) + at * (kPanelRows / 2) + g;
      if constexpr (Format::kHasSupers) {
        source.supers[p] = reinterpret_cast<const Super*>(w.supers) +
                           w.SuperEntry(panels[p], unit / Format::kUnitsPerSuper, g) / 2;
      }
    }
    return source;
  }

  // Copies a unit and moves on to the next.
  static __device__ __forceinline__ void Copy(Source& source, int lane, Slot& slot) {
    ++source.unit;
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int v = 0; v < kLoads; ++v) {
        CopyAsync<16>(&slot.codes[p][v][lane], source.codes[p] + v * 512);
      }
      source.codes[p] += Format::kUnitBytes;
      if constexpr (Format::kHasParams) {
        constexpr int kPart = alignof(Groups);
#pragma unroll
        for (int i = 0; i < Format::kGroupsBytes; i += kPart) {
          CopyAsync<kPart>(reinterpret_cast<uint8_t*>(&slot.groups[p][lane]) + i,
                           reinterpret_cast<const uint8_t*>(source.groups[p]) + i);
        }
        source.groups[p] += kPanelRows / 2;
      }
      if constexpr (Format::kHasSupers) {
        CopyAsync<sizeof(Super)>(&slot.supers[p][lane], source.supers[p]);
        if (source.unit % Format::kUnitsPerSuper == 0) source.supers[p] += kPanelRows / 2;
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
      if constexpr (Format::kHasParams) raw.groups[p] = slot.groups[p][lane];
      if constexpr (Format::kHasSupers) raw.supers[p] = slot.supers[p][lane];
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
            Scale(Format::Params::Get(raw.groups[p].of[i], raw.supers[p]), sum[0][p][n], of_x,
                  y[p][n]);
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
