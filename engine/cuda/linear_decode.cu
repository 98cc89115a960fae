// Each warp streams its share of the columns of one or two panels of 16 rows; the eight warps of a
// block share the columns among them and add up at the end. Codes become bf16 by a mask (128 + code
// is exact), so that scales and offsets are applied to sums over a group, not to every weight:
//   sum x w = scale * sum x (128 + code) + (offset - 128 scale) * sum x
// and the sum of x over the group comes from a product with ones in the same unit.
#include "engine/cuda/linear_decode.h"
#include "engine/cuda/mma.cuh"
#include "engine/cuda/overlap.cuh"

namespace kvpareto::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;

// Units of columns in flight per warp: about 4 KB.
constexpr int DepthFor(CodeFormat format, int panels) {
  return format == CodeFormat::kBf16 ? 2 : format == CodeFormat::kInt8 ? 4 : panels > 1 ? 3 : 4;
}

template <CodeFormat kFormat>
struct Codes;

template <>
struct Codes<CodeFormat::kInt4> {
  static constexpr int kLoads = 1;
  static constexpr float kBias = 128.0f;
  static __device__ __forceinline__ void Step(const uint4 (&raw)[1], int s, uint32_t (&a)[4]) {
    const uint32_t word = s == 0 ? raw[0].x : s == 1 ? raw[0].y : s == 2 ? raw[0].z : raw[0].w;
#pragma unroll
    for (int r = 0; r < 4; ++r) a[r] = ((word >> (4 * r)) & 0x000f000fu) | 0x43004300u;
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
struct RowParams {
  float scale[2];
  float offset[2];
};
template <bool kWide>
struct RawParams;
template <>
struct RawParams<true> {
  float4 v;
  __device__ __forceinline__ RowParams Get() const { return {{v.x, v.z}, {v.y, v.w}}; }
};
template <>
struct RawParams<false> {
  uint2 v;
  __device__ __forceinline__ RowParams Get() const {
    const float2 first = UnpackF16(v.x), second = UnpackF16(v.y);
    return {{first.x, second.x}, {first.y, second.y}};
  }
};
// Blocks of columns that are taken at a time.
constexpr int UnitBlocks(CodeFormat format) { return format == CodeFormat::kInt4 ? 2 : 1; }

// kTiles: of 8 tokens, 0 for one token; kPanels: per warp; kGroup: columns that share parameters
// inside a block.
template <CodeFormat kFormat, bool kWide, int kGroup, int kTiles, int kPanels>
struct Stream {
  using C = Codes<kFormat>;
  static constexpr bool kHasParams = kFormat != CodeFormat::kBf16;
  static constexpr bool kSingle = kTiles == 0;  // one token, rounded by the block itself
  static constexpr int kColumnTiles = kSingle ? 1 : kTiles;
  static constexpr int kOutputs = kPanels * kPanelRows * kColumnTiles * 8;
  // Blocks at a time, and groups of columns in them.
  static constexpr int kBlocks = UnitBlocks(kFormat);
  static constexpr int kLoads = kBlocks * C::kLoads;
  static constexpr int kGroups = kHasParams ? kBlocks * kBlockCols / kGroup : 1;
  static constexpr int kSteps = kBlocks * kBlockCols / kStepCols / kGroups;  // of a group
  static constexpr int kUnitBytes = kBlocks * 1024 * CodeBits(kFormat) / 8;  // of a panel

  // A lane's part of a unit of all panels.
  struct Raw {
    uint4 codes[kPanels][kBlocks][C::kLoads];
    RawParams<kWide> params[kPanels][kGroups];
  };
  // The same of a whole warp in shared memory. A lane only ever touches its own entries: so nothing
  // but its own copies has to be waited for.
  struct Slot {
    uint4 codes[kPanels][kLoads][32];
    RawParams<kWide> params[kHasParams ? kPanels * kGroups : 1][kHasParams ? 32 : 1];
  };

  float y[kPanels][kColumnTiles][4] = {};

  // Where a lane's codes and parameters of the next unit stand, per panel.
  struct Source {
    const uint8_t* codes[kPanels];
    const RawParams<kWide>* params[kPanels];
  };

  static __device__ __forceinline__ Source SourceOf(const LinearDecodeParams& p, int group,
                                                    int unit, int lane) {
    Source source;
#pragma unroll
    for (int i = 0; i < kPanels; ++i) {
      const int panel = min(group * kPanels + i, p.w.panels() - 1);
      const int units = p.w.blocks / kBlocks;
      source.codes[i] =
          p.w.codes + (size_t(panel) * units + unit) * kUnitBytes + LaneOffset(0, lane);
      source.params[i] = reinterpret_cast<const RawParams<kWide>*>(p.w.params) +
                         (size_t(panel) * p.groups + unit * kGroups) * (kPanelRows / 2) + lane / 4;
    }
    return source;
  }

  // [token][row]
  __device__ __forceinline__ void StorePartial(float* to, int g, int q) const {
#pragma unroll
    for (int i = 0; i < kPanels; ++i) {
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int r = i * kPanelRows + g + c / 2 * 8, column = n * 8 + 2 * q + c % 2;
          to[column * kPanels * kPanelRows + r] = y[i][n][c];
        }
      }
    }
  }

  // Copies a unit and moves on to the next.
  static __device__ __forceinline__ void Copy(Source& source, int lane, Slot& slot) {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
#pragma unroll
      for (int v = 0; v < kLoads; ++v) {
        CopyAsync<16>(&slot.codes[p][v][lane], source.codes[p] + v * 512);
      }
      source.codes[p] += kUnitBytes;
      if constexpr (kHasParams) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
          CopyAsync<sizeof(RawParams<kWide>)>(&slot.params[p * kGroups + i][lane],
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
      if constexpr (kHasParams) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) raw.params[p][i] = slot.params[p * kGroups + i][lane];
      }
    }
  }

  // `x(tile, step)` gives the B operand's two registers.
  template <typename X>
  __device__ __forceinline__ void Multiply(const Raw& raw, const X& x) {
    constexpr uint32_t kOnes[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      float sum[kPanels][kColumnTiles][4] = {};
      float ones[kColumnTiles][4] = {};
#pragma unroll
      for (int j = 0; j < kSteps; ++j) {
        const int s = i * kSteps + j;
        uint2 b[kColumnTiles];
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) b[n] = x(n, s);
#pragma unroll
        for (int p = 0; p < kPanels; ++p) {
          uint32_t a[4];
          C::Step(raw.codes[p][s / 4], s % 4, a);
#pragma unroll
          for (int n = 0; n < kColumnTiles; ++n) {
            MmaBf16(kHasParams ? sum[p][n] : y[p][n], a, b[n].x, b[n].y);
          }
        }
        if constexpr (kHasParams) {
#pragma unroll
          for (int n = 0; n < kColumnTiles; ++n) MmaBf16(ones[n], kOnes, b[n].x, b[n].y);
        }
      }
      if constexpr (kHasParams) Scale(raw, i, sum, ones);
    }
  }

  __device__ __forceinline__ void Scale(const Raw& raw, int group,
                                        const float (&sum)[kPanels][kColumnTiles][4],
                                        const float (&ones)[kColumnTiles][4]) {
#pragma unroll
    for (int p = 0; p < kPanels; ++p) {
      const RowParams params = raw.params[p][group].Get();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float scale = params.scale[half];
        const float offset = params.offset[half] - C::kBias * scale;
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
          for (int c = 2 * half; c < 2 * half + (kSingle ? 1 : 2); ++c) {
            y[p][n][c] += scale * sum[p][n][c] + offset * ones[n][c];
          }
        }
      }
    }
  }
};

// Rounds the one token's row to bf16 in shared memory: [blocks * 64].
__device__ void RoundRow(const LinearDecodeParams& p, uint16_t* to) {
  const int padded = p.w.blocks * kBlockCols;
#pragma unroll 4
  for (int c = threadIdx.x * 4; c < padded; c += kThreads * 4) {
    float v[4];
    if (c + 4 <= p.w.cols && p.w.cols % 4 == 0) {
      const float4 four = *reinterpret_cast<const float4*>(p.x + c);
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    } else {
      for (int i = 0; i < 4; ++i) v[i] = c + i < p.w.cols ? p.x[c + i] : 0.0f;
    }
    *reinterpret_cast<uint2*>(to + c) = make_uint2(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]));
  }
}

template <CodeFormat kFormat, bool kWide, int kGroup, int kTiles, int kPanels>
__global__ void __launch_bounds__(kThreads) StreamKernel(LinearDecodeParams p) {
  using S = Stream<kFormat, kWide, kGroup, kTiles, kPanels>;
  constexpr int kDepth = DepthFor(kFormat, kPanels);
  LetNextKernelStart();
  extern __shared__ __align__(16) uint8_t shared[];
  // [kWarps][kDepth] slots, then the sums of the warps, [kWarps][kOutputs], then the rounded row.
  typename S::Slot* const slots =
      reinterpret_cast<typename S::Slot*>(shared) + threadIdx.x / 32 * kDepth;
  float* const partial =
      reinterpret_cast<float*>(shared + sizeof(typename S::Slot) * kWarps * kDepth);
  uint16_t* const row = reinterpret_cast<uint16_t*>(partial + kWarps * S::kOutputs);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int units = p.w.blocks / S::kBlocks;
  const int begin = warp * units / kWarps, end = (warp + 1) * units / kWarps;
  const int groups = (p.w.panels() + kPanels - 1) / kPanels;

  // Copies run ahead through all the panels of this block.
  int copy_group = blockIdx.x, copy_unit = begin;
  typename S::Source source = S::SourceOf(p, copy_group, begin, lane);
  const auto copy_next = [&](typename S::Slot& slot) {
    if (copy_unit < end) {
      S::Copy(source, lane, slot);
      if (++copy_unit == end && copy_group + int(gridDim.x) < groups) {
        copy_group += gridDim.x;
        copy_unit = begin;
        source = S::SourceOf(p, copy_group, begin, lane);
      }
    }
    CommitCopies();
  };
  for (int d = 0; d < kDepth; ++d) copy_next(slots[d]);
  WaitForEarlierKernels();
  if constexpr (S::kSingle) {
    RoundRow(p, row);
    __syncthreads();
  }
  int slot = 0;
#pragma unroll 1
  for (int group = blockIdx.x; group < groups; group += gridDim.x) {
    S stream;
#pragma unroll 1
    for (int unit = begin; unit < end; ++unit) {
      // One group is committed per unit, be it empty: all but the newest kDepth - 1 have arrived.
      WaitForCopies<kDepth - 1>();
      typename S::Raw raw;
      S::Read(slots[slot], lane, raw);
      copy_next(slots[slot]);
      slot = slot + 1 == kDepth ? 0 : slot + 1;
      if constexpr (S::kSingle) {
        // The one token in all eight columns.
        const uint16_t* const x = row + unit * (S::kBlocks * kBlockCols) + 4 * q;
        stream.Multiply(
            raw, [&](int, int s) { return *reinterpret_cast<const uint2*>(x + s * kStepCols); });
      } else {
        const uint2* const x = reinterpret_cast<const uint2*>(p.packed_x) +
                               (size_t(unit) * S::kBlocks * 4 * 32 + lane);
        stream.Multiply(
            raw, [&](int n, int s) { return __ldg(x + (size_t(n) * p.w.blocks * 4 + s) * 32); });
      }
    }
    stream.StorePartial(partial + warp * S::kOutputs, g, q);
    __syncthreads();
    for (int i = threadIdx.x; i < S::kOutputs; i += kThreads) {
      // Rows fastest: neighbouring threads write neighbouring outputs.
      const int r = i % (kPanels * kPanelRows), token = i / (kPanels * kPanelRows);
      const int out = group * kPanels * kPanelRows + r;
      if (token >= p.tokens || out >= p.w.rows) continue;
      float sum = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += partial[w * S::kOutputs + i];
      if (p.bias != nullptr) sum += p.bias[out];
      float* y = p.y + size_t(token) * p.y_stride + out;
      *y = p.accumulate ? *y + sum : sum;
    }
    __syncthreads();
  }
}

int Multiprocessors() {
  static const int count = [] {
    int device = 0, value = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device);
    return value;
  }();
  return count;
}

template <CodeFormat kFormat, bool kWide, int kGroup, int kTiles, int kPanels>
void Launch(const LinearDecodeParams& p, LaunchQueue& queue) {
  using S = Stream<kFormat, kWide, kGroup, kTiles, kPanels>;
  size_t shared = sizeof(typename S::Slot) * kWarps * DepthFor(kFormat, kPanels);
  shared += sizeof(float) * kWarps * S::kOutputs;
  if (kTiles == 0) shared += size_t(p.w.blocks) * kBlockCols * sizeof(uint16_t);
  const auto kernel = StreamKernel<kFormat, kWide, kGroup, kTiles, kPanels>;
  static const bool allowed = (AllowLargeShared(reinterpret_cast<const void*>(kernel)), true);
  (void)allowed;
  const int groups = (p.w.panels() + kPanels - 1) / kPanels;
  // As many blocks as run at once: each goes through its share of the panels.
  const int resident = max(1, int((size_t{227} << 10) / (shared + 1024)));
  const int blocks = min(groups, Multiprocessors() * min(resident, kTiles > 2 ? 1 : 3));
  queue.Add(kernel, {blocks, kThreads, shared, true}, p);
}

// Tiles of 8 tokens that a kernel reads for so many tokens: 1, 2, 4 or 8.
int TilesFor(int tokens) { return tokens <= 8 ? 1 : tokens <= 16 ? 2 : tokens <= 32 ? 4 : 8; }

template <CodeFormat kFormat, bool kWide, int kGroup>
void LaunchFor(const LinearDecodeParams& p, LaunchQueue& queue) {
  if (p.tokens == 1) return Launch<kFormat, kWide, kGroup, 0, 1>(p, queue);
  if (p.tokens <= 8) return Launch<kFormat, kWide, kGroup, 1, 1>(p, queue);
  if (p.tokens <= 16) {
    // Two panels per warp share the activations' way through the cache, if there are enough of them
    // to keep every multiprocessor busy.
    return p.w.panels() < 4 * Multiprocessors() ? Launch<kFormat, kWide, kGroup, 2, 1>(p, queue)
                                                : Launch<kFormat, kWide, kGroup, 2, 2>(p, queue);
  }
  if (p.tokens <= 32) return Launch<kFormat, kWide, kGroup, 4, 2>(p, queue);
  Launch<kFormat, kWide, kGroup, 8, 1>(p, queue);
}

template <CodeFormat kFormat, bool kWide>
void LaunchGroup(const LinearDecodeParams& p, LaunchQueue& queue) {
  // Of codes of 8 bits in groups of 16 (Q6_K), of 4 bits in groups of up to 128.
  if (p.w.group == 32) return LaunchFor<kFormat, kWide, 32>(p, queue);
  if (p.w.group == 64) return LaunchFor<kFormat, kWide, 64>(p, queue);
  if constexpr (kFormat == CodeFormat::kInt8) {
    LaunchFor<kFormat, kWide, 16>(p, queue);
  } else {
    LaunchFor<kFormat, kWide, 128>(p, queue);
  }
}

// One thread per tile, block and lane.
__global__ void PackActivationsKernel(const float* x, int tokens, int cols, int blocks, int items,
                                      uint32_t* packed) {
  BeginOverlapped();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= items) return;
  const int lane = i % 32, block = i / 32 % blocks, tile = i / 32 / blocks;
  const int token = tile * 8 + lane / 4;
  uint32_t words[8] = {};
  if (token < tokens) {
    const float* row = x + size_t(token) * cols;
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int c = block * kBlockCols + s * kStepCols + lane % 4 * 4;
      float v[4] = {};
      if (cols % 4 == 0 && c + 4 <= cols) {
        const float4 four = *reinterpret_cast<const float4*>(row + c);
        v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
      } else {
        for (int j = 0; j < 4; ++j) v[j] = c + j < cols ? row[c + j] : 0.0f;
      }
      words[2 * s] = PackBf16(v[0], v[1]);
      words[2 * s + 1] = PackBf16(v[2], v[3]);
    }
  }
  uint2* to = reinterpret_cast<uint2*>(packed) + size_t(i / 32) * 4 * 32 + lane;
#pragma unroll
  for (int s = 0; s < 4; ++s) to[s * 32] = make_uint2(words[2 * s], words[2 * s + 1]);
}

}  // namespace

void LaunchLinearDecode(const LinearDecodeParams& params, LaunchQueue& queue) {
  LinearDecodeParams p = params;
  p.groups = p.w.groups();
  if (p.w.format == CodeFormat::kBf16) {
    return LaunchFor<CodeFormat::kBf16, false, 64>(p, queue);
  }
  if (p.w.format == CodeFormat::kInt4) {
    return p.w.wide_params ? LaunchGroup<CodeFormat::kInt4, true>(p, queue)
                           : LaunchGroup<CodeFormat::kInt4, false>(p, queue);
  }
  p.w.wide_params ? LaunchGroup<CodeFormat::kInt8, true>(p, queue)
                  : LaunchGroup<CodeFormat::kInt8, false>(p, queue);
}

size_t PackedActivationBytes(int tokens, int blocks) {
  return size_t(TilesFor(tokens)) * blocks * 32 * 32;
}

void LaunchPackActivations(const float* x, int tokens, int cols, int blocks, uint32_t* packed,
                           LaunchQueue& queue) {
  const int items = TilesFor(tokens) * blocks * 32;
  queue.Add(PackActivationsKernel, {(items + 255) / 256, 256, 0, true}, x, tokens, cols, blocks,
            items, packed);
}

}  // namespace kvpareto::cuda
