// Several rows: a block keeps their activations of some ranges of columns in shared memory and goes
// through strips of one or two panels, several at a time; each warp takes one range of one strip.
// The blocks of a cluster share the ranges, and add up the sums of all of them, each its part of
// the outputs.
#include <map>
#include <tuple>

#include "engine/cuda/cluster.cuh"
#include "engine/cuda/linear_stream.cuh"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/silu.cuh"

namespace kvpareto::cuda {
namespace {

// Of a block: as many as there are ranges of columns, or more where clusters are few and one would
// get two sets while others have one. More warps have fewer registers each.
constexpr int kFewWarps = kLinearWarps;
constexpr int kManyWarps = 12;
constexpr size_t kWarpBytes = 8 << 10;  // copied ahead
constexpr int kStepBytes = 256;         // of a B operand of a tile

// What a block has in shared memory, one after the other:
//   slots of copies, [warps][kDepth]
//   sums, [buffers][warps][token][row of a strip]; two buffers, so that blocks may be one set apart
//   the activations, [tiles][blocks of the ranges][4 steps][32 lanes][2 words]
//   and their sums, [tiles][groups of the ranges][8]
template <typename Format, int kTiles, int kPanels>
struct BatchShared {
  using S = Stream<Format, kTiles, kPanels, false>;
  using Slot = typename S::Slot;
  static constexpr int kDepth = S::Depth(kWarpBytes);
  static constexpr int kRows = kPanels * kPanelRows;  // of a strip
  static constexpr int kOutputs = kTiles * 8 * kRows;
  static constexpr size_t kUnitBytes =
      kTiles * (Format::kBlocks * 4 * kStepBytes +
                (Format::kHasParams ? Format::kGroups * 8 * sizeof(float) : 0));
  __host__ __device__ static size_t Bytes(int warps, int buffers) {
    return warps * (kDepth * sizeof(Slot) + buffers * kOutputs * sizeof(float));
  }
};

// The strips of a matrix: neighbouring panels, or a gate's panel and what it gates.
template <int kPanels>
struct StripList {
  int gate_panels;  // 0: no gate
  int last_panel;
  __host__ __device__ StripList(const PackedMatrix& w, bool gated)
      : gate_panels(gated ? w.panels() / 2 : 0), last_panel(w.panels() - 1) {}
  __host__ __device__ int count() const {
    return gate_panels > 0 ? gate_panels : last_panel / kPanels + 1;
  }
  __device__ void Get(int strip, int (&panels)[kPanels]) const {
    panels[0] = gate_panels > 0 ? strip : kPanels * strip;
    if constexpr (kPanels == 2) {
      panels[1] = gate_panels > 0 ? strip + gate_panels : min(kPanels * strip + 1, last_panel);
    }
  }
};

// Copies `bytes` per tile, from [tiles][pitch] to [tiles][bytes], without waiting.
__device__ __forceinline__ void CopyTiles(const void* from, size_t pitch, int bytes, int tiles,
                                          int threads, uint8_t* to) {
  for (int t = 0; t < tiles; ++t) {
    const uint8_t* const tile = static_cast<const uint8_t*>(from) + t * pitch;
#pragma unroll 8
    for (int i = threadIdx.x * 16; i < bytes; i += threads * 16) {
      CopyAsync<16>(to + size_t(t) * bytes + i, tile + i);
    }
  }
}

// Writes the outputs of strips [first, first + count), shared among the threads of a cluster:
// value(strip - first, token, row of the strip) are whole sums.
template <int kTiles, int kPanels, typename Value>
__device__ __forceinline__ void StoreOutputs(const LinearDecodeParams& p,
                                             const StripList<kPanels>& strips, int first, int count,
                                             int thread, int threads, const Value& value) {
  // Rows fastest: neighbouring threads write neighbouring outputs. All sizes are powers of two.
  constexpr int kTokens = kTiles * 8;
  const int row_bits = p.gated || kPanels == 1 ? 4 : 5;
  static_assert(kPanelRows == 1 << 4 && kPanels <= 2 && (kTokens & (kTokens - 1)) == 0);
  for (int i = thread; i < (count * kTokens) << row_bits; i += threads) {
    const int r = i & ((1 << row_bits) - 1), token = (i >> row_bits) % kTokens;
    const int member = (i >> row_bits) / kTokens, strip = first + member;
    const int out = (strip << row_bits) + r;
    if (strip >= strips.count() || token >= p.tokens || (!p.gated && out >= p.w.rows)) continue;
    float* const y = p.y + size_t(token) * p.y_stride + out;
    float sum = value(member, token, r);
    if (p.gated) {
      *y = SiluMul(sum, value(member, token, r + kPanelRows));
      continue;
    }
    if (p.bias != nullptr) sum += p.bias[out];
    *y = p.accumulate ? *y + sum : sum;
  }
}

template <typename Format, int kTiles, int kPanels, int kMaxWarps>
__global__ void __launch_bounds__(kMaxWarps * 32, 1) BatchKernel(LinearBatchParams params) {
  using Shared = BatchShared<Format, kTiles, kPanels>;
  using S = typename Shared::S;
  LetNextKernelStart();
  extern __shared__ __align__(16) uint8_t bytes[];
  const LinearDecodeParams& p = params.linear;
  const BatchPlan& plan = params.plan;
  const int all_units = p.w.blocks / Format::kBlocks, all_groups = all_units * Format::kGroups;
  const int split = ClusterRank(), splits = plan.splits;
  const int first_unit = RangeOf(split * plan.ranges, all_units).begin;
  const int slab_units = RangeOf((split + 1) * plan.ranges - 1, all_units).end - first_unit;
  const int warps = kMaxWarps == kFewWarps ? kFewWarps : blockDim.x / 32;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int g = lane / 4, q = lane % 4;
  auto* const slots = reinterpret_cast<typename S::Slot*>(bytes) + warp * Shared::kDepth;
  float* const partial =
      reinterpret_cast<float*>(bytes + warps * Shared::kDepth * sizeof(typename S::Slot));
  uint8_t* const slab = bytes + Shared::Bytes(warps, plan.buffers);
  const int slab_bytes = slab_units * Format::kBlocks * 4 * kStepBytes;
  float* const sums = reinterpret_cast<float*>(slab + size_t(kTiles) * slab_bytes);
  const int slab_groups = slab_units * Format::kGroups;

  const int member = warp / plan.ranges;
  const UnitRange units = RangeOf(split * plan.ranges + warp % plan.ranges, all_units);
  const StripList<kPanels> strips(p.w, p.gated);
  const int first_set = blockIdx.x / splits, set_step = gridDim.x / splits;

  // Copies run ahead through all the sets of this block.
  const auto source_of = [&](int set) {
    int panels[kPanels];
    strips.Get(min(set * plan.members + member, strips.count() - 1), panels);
    return S::SourceOf(p.w, panels, units.begin, lane);
  };
  int copy_set = first_set, copy_unit = units.begin;
  typename S::Source source = source_of(copy_set);
  const auto copy_next = [&](typename S::Slot& slot) {
    if (copy_unit < units.end) {
      S::Copy(source, lane, slot);
      if (++copy_unit == units.end && copy_set + set_step < plan.sets) {
        copy_set += set_step;
        copy_unit = units.begin;
        source = source_of(copy_set);
      }
    }
    CommitCopies();
  };
#pragma unroll
  for (int d = 0; d < Shared::kDepth; ++d) copy_next(slots[d]);
  WaitForEarlierKernels();
  CopyTiles(reinterpret_cast<const uint8_t*>(params.x) +
                size_t(first_unit) * Format::kBlocks * 4 * kStepBytes,
            size_t(p.w.blocks) * 4 * kStepBytes, slab_bytes, kTiles, warps * 32, slab);
  if constexpr (Format::kHasParams) {
    CopyTiles(params.x_sums + first_unit * Format::kGroups * 8,
              size_t(all_groups) * 8 * sizeof(float), slab_groups * 8 * sizeof(float), kTiles,
              warps * 32, reinterpret_cast<uint8_t*>(sums));
  }
  CommitCopies();
  WaitForCopies<0>();
  __syncthreads();

  // A block alone needs no barrier of a cluster, and reads its own shared memory faster.
  const bool alone = splits == 1;
  const auto arrive = [&] {
    if (!alone) ClusterArrive();
  };
  const auto wait = [&] { alone ? __syncthreads() : ClusterWait(); };
  int buffer = 0;  // of the set at hand
  const auto partial_of = [&](int in_buffer, int of_warp) {
    return partial + (in_buffer * warps + of_warp) * Shared::kOutputs;
  };
  const int range_bits = __ffs(plan.ranges) - 1;
  const auto add_up = [&](int set, int in_buffer) {
    const auto store = [&](const auto& sum) {
      StoreOutputs<kTiles>(p, strips, set * plan.members, plan.members,
                           split * warps * 32 + threadIdx.x, splits * warps * 32, sum);
    };
    const auto sums_of = [&](int in_set, int token, int r) {
      return partial_of(in_buffer, in_set << range_bits) + token * Shared::kRows + r;
    };
    if (alone) {
      store([&](int in_set, int token, int r) {
        const float* const own = sums_of(in_set, token, r);
        return TreeSum<kColumnRanges>([&](int range) { return own[range * Shared::kOutputs]; });
      });
    } else {
      store([&](int in_set, int token, int r) {
        const float* const own = sums_of(in_set, token, r);
        return TreeSum<kColumnRanges>([&](int range) {
          return LoadFromPeer(own + (range & (plan.ranges - 1)) * Shared::kOutputs,
                              range >> range_bits);
        });
      });
    }
  };
  int slot = 0, last_set = first_set;
#pragma unroll 1
  for (int set = first_set; set < plan.sets; set += set_step) {
    S stream;
#pragma unroll 1
    for (int unit = units.begin; unit < units.end; ++unit) {
      // One group is committed per unit, be it empty: all but the newest kDepth - 1 have arrived.
      WaitForCopies<Shared::kDepth - 1>();
      typename S::Raw raw;
      S::Read(slots[slot], lane, raw);
      copy_next(slots[slot]);
      slot = slot + 1 == Shared::kDepth ? 0 : slot + 1;
      const int in_slab = unit - first_unit;
      const uint8_t* const x = slab + in_slab * (Format::kBlocks * 4 * kStepBytes) + lane * 8;
      const float* const x_sums = sums + in_slab * (Format::kGroups * 8) + 2 * q;
      stream.Multiply(
          raw,
          [&](int n, int s) {
            return *reinterpret_cast<const uint2*>(x + n * slab_bytes + s * kStepBytes);
          },
          [&](int n, int i) {
            return *reinterpret_cast<const float2*>(x_sums + (n * slab_groups + i) * 8);
          });
    }
    // Sums of a set are added while the next one is multiplied elsewhere in the cluster.
    if (set != first_set) {
      wait();
      add_up(set - set_step, buffer);
      buffer ^= 1;
    }
    float* const to = partial_of(buffer, warp);
#pragma unroll
    for (int i = 0; i < kPanels; ++i) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int r = i * kPanelRows + g + c / 2 * 8, token = n * 8 + 2 * q + c % 2;
          to[token * Shared::kRows + r] = stream.y[i][n][c];
        }
      }
    }
    arrive();
    last_set = set;
  }
  wait();
  add_up(last_set, buffer);
  // Others may still read this block's shared memory.
  arrive();
  wait();
}

using Kernel = void (*)(LinearBatchParams);
template <typename Format, int kTiles, int kPanels>
Kernel KernelOf(int warps) {
  // Only clusters have more warps, and they have strips of two panels.
  if constexpr (kPanels == 2) {
    if (warps > kFewWarps) return BatchKernel<Format, kTiles, kPanels, kManyWarps>;
  }
  return BatchKernel<Format, kTiles, kPanels, kFewWarps>;
}

// Clusters that the device runs at once, a block per multiprocessor.
int ClustersAtOnce(Kernel kernel, int splits, int threads, size_t shared_bytes,
                   const LaunchQueue& queue) {
  const int most = queue.multiprocessors() / splits;
  if (splits == 1) return most;
  static std::map<std::tuple<Kernel, int, int, size_t>, int> known;
  int& count = known[{kernel, splits, threads, shared_bytes}];
  if (count == 0) {
    AllowLargeShared(reinterpret_cast<const void*>(kernel));
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = splits;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = most * splits;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.attrs = &cluster;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) count = most;
    count = max(1, min(count, most));
  }
  return count;
}

// The most units of columns in any `ranges` ranges of a block.
int MostUnits(int units, int ranges) {
  int most = 0;
  for (int first = 0; first < kColumnRanges; first += ranges) {
    most = max(most, RangeOf(first + ranges - 1, units).end - RangeOf(first, units).begin);
  }
  return most;
}

// The best plan with strips of kPanels: the most ranges whose activations fit, since clusters cost
// more than activations that several blocks read; then as many strips at a time as leave the
// fewest panels to the cluster that has most.
template <typename Format, int kTiles, int kPanels>
BatchPlan PlanStrips(const PackedMatrix& w, bool gated, const LaunchQueue& queue) {
  using Shared = BatchShared<Format, kTiles, kPanels>;
  const int units = w.blocks / Format::kBlocks;
  const int strips = StripList<kPanels>(w, gated).count();
  constexpr int kMostWarps = kPanels == 2 ? kManyWarps : kFewWarps;
  BatchPlan best;
  for (int ranges = kColumnRanges; ranges > 0 && best.ranges == 0; ranges /= 2) {
    const int splits = kColumnRanges / ranges;
    if (splits > 1 && !queue.has_clusters()) break;
    const size_t activations = MostUnits(units, ranges) * Shared::kUnitBytes;
    for (int members = splits; members * ranges <= kMostWarps; ++members) {
      BatchPlan plan{.tokens = kTiles * 8,
                     .ranges = ranges,
                     .splits = splits,
                     .members = members,
                     .panels = kPanels,
                     .sets = (strips + members - 1) / members};
      for (plan.buffers = 1; plan.buffers <= 2; ++plan.buffers) {
        plan.shared_bytes = Shared::Bytes(plan.warps(), plan.buffers) + activations;
        if (plan.shared_bytes > queue.shared_limit()) break;
        plan.clusters =
            min(plan.sets, ClustersAtOnce(KernelOf<Format, kTiles, kPanels>(plan.warps()), splits,
                                          plan.warps() * 32, plan.shared_bytes, queue));
        if (plan.buffers == 1 && plan.sets > plan.clusters) continue;
        if (best.ranges == 0 || plan.most_panels() < best.most_panels()) best = plan;
        break;
      }
    }
  }
  return best;
}

template <typename Format, int kTiles>
BatchPlan PlanTiles(const PackedMatrix& w, bool gated, const LaunchQueue& queue) {
  const BatchPlan wide = PlanStrips<Format, kTiles, 2>(w, gated, queue);
  if (kTiles > 2 || gated || wide.splits > 1) return wide;
  // Activations serve both panels of a strip: one alone must save more than that.
  const BatchPlan narrow = PlanStrips<Format, kTiles, 1>(w, gated, queue);
  const bool pays = narrow.ranges > 0 && narrow.most_panels() * 5 < wide.most_panels() * 4;
  return pays ? narrow : wide;
}

int TilesFor(int tokens) { return tokens <= 8 ? 1 : tokens <= 16 ? 2 : 4; }

template <typename Format, int kTiles, int kPanels>
void LaunchStrips(const LinearBatchParams& params, LaunchQueue& queue) {
  static const bool allowed = [] {
    AllowLargeShared(reinterpret_cast<const void*>(KernelOf<Format, kTiles, kPanels>(kFewWarps)));
    AllowLargeShared(reinterpret_cast<const void*>(KernelOf<Format, kTiles, kPanels>(kManyWarps)));
    return true;
  }();
  (void)allowed;
  const BatchPlan& plan = params.plan;
  queue.Add(KernelOf<Format, kTiles, kPanels>(plan.warps()),
            {plan.clusters * plan.splits, plan.warps() * 32, plan.shared_bytes, true, plan.splits},
            params);
}

template <typename Format, int kTiles>
void Launch(const LinearBatchParams& params, LaunchQueue& queue) {
  if constexpr (kTiles <= 2) {
    if (params.plan.panels == 1) return LaunchStrips<Format, kTiles, 1>(params, queue);
  }
  LaunchStrips<Format, kTiles, 2>(params, queue);
}

}  // namespace

BatchPlan PlanBatch(const PackedMatrix& w, int tokens, bool gated, const LaunchQueue& queue) {
  BatchPlan plan;
  for (int tiles = TilesFor(tokens); tiles > 0 && plan.ranges == 0; tiles /= 2) {
    VisitWeightFormat(w, [&](auto format) {
      using Format = decltype(format);
      plan = tiles == 4   ? PlanTiles<Format, 4>(w, gated, queue)
             : tiles == 2 ? PlanTiles<Format, 2>(w, gated, queue)
                          : PlanTiles<Format, 1>(w, gated, queue);
    });
  }
  if (plan.ranges == 0) plan.tokens = 1;
  return plan;
}

void LaunchLinearBatch(const LinearBatchParams& params, LaunchQueue& queue) {
  VisitWeightFormat(params.linear.w, [&](auto format) {
    using Format = decltype(format);
    if (params.plan.tokens == 32) return Launch<Format, 4>(params, queue);
    params.plan.tokens == 16 ? Launch<Format, 2>(params, queue) : Launch<Format, 1>(params, queue);
  });
}

}  // namespace kvpareto::cuda
