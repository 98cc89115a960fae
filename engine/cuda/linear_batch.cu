// Several rows: a block keeps their activations of some ranges of columns in shared memory and goes
// through pairs of panels; each warp takes one range of one pair. The blocks of a cluster share the
// ranges of as many pairs as they are, and each adds up the sums of one pair from all of them.
#include <map>
#include <tuple>

#include "engine/cuda/cluster.cuh"
#include "engine/cuda/linear_stream.cuh"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/silu.cuh"

namespace kvpareto::cuda {
namespace {

constexpr int kPanels = 2;
constexpr int kPairRows = kPanels * kPanelRows;
constexpr size_t kWarpBytes = 8 << 10;  // copied ahead
constexpr int kStepBytes = 256;         // of a B operand of a tile

template <typename Format, int kTiles>
struct BatchShared {
  using S = Stream<Format, kTiles, kPanels, false>;
  static constexpr int kDepth = S::Depth(kWarpBytes);
  static constexpr int kOutputs = kTiles * 8 * kPairRows;  // of a pair of panels
  typename S::Slot slots[kLinearWarps][kDepth];
  // Of two sets of pairs, so that blocks may be one set apart: [token][row].
  float partial[2][kLinearWarps][kOutputs];
  // Then the activations, [tiles][blocks of the ranges][4 steps][32 lanes][2 words], and their
  // sums, [tiles][groups of the ranges][8].
};

// The pairs of panels of a matrix: neighbours, or a gate's panel and what it gates.
struct PairList {
  int gate_panels;  // 0: no gate
  int last_panel;
  __host__ __device__ PairList(const PackedMatrix& w, bool gated)
      : gate_panels(gated ? w.panels() / 2 : 0), last_panel(w.panels() - 1) {}
  __host__ __device__ int count() const {
    return gate_panels > 0 ? gate_panels : last_panel / kPanels + 1;
  }
  __device__ void Get(int pair, int (&panels)[kPanels]) const {
    panels[0] = gate_panels > 0 ? pair : kPanels * pair;
    panels[1] = gate_panels > 0 ? pair + gate_panels : min(kPanels * pair + 1, last_panel);
  }
};

// Copies `bytes` per tile, from [tiles][pitch] to [tiles][bytes], without waiting.
__device__ __forceinline__ void CopyTiles(const void* from, size_t pitch, int bytes, int tiles,
                                          uint8_t* to) {
  for (int t = 0; t < tiles; ++t) {
    const uint8_t* const tile = static_cast<const uint8_t*>(from) + t * pitch;
#pragma unroll 8
    for (int i = threadIdx.x * 16; i < bytes; i += kLinearThreads * 16) {
      CopyAsync<16>(to + size_t(t) * bytes + i, tile + i);
    }
  }
}

// Writes the outputs of a pair; value(token, row of the pair) are whole sums.
template <int kTiles, typename Value>
__device__ __forceinline__ void StoreOutputs(const LinearDecodeParams& p, const PairList& pairs,
                                             int pair, const Value& value) {
  if (pair >= pairs.count()) return;
  const int rows = p.gated ? kPanelRows : kPairRows;
  for (int i = threadIdx.x; i < kTiles * 8 * rows; i += kLinearThreads) {
    // Rows fastest: neighbouring threads write neighbouring outputs.
    const int r = i % rows, token = i / rows, out = pair * rows + r;
    if (token >= p.tokens || (!p.gated && out >= p.w.rows)) continue;
    float* const y = p.y + size_t(token) * p.y_stride + out;
    float sum = value(token, r);
    if (p.gated) {
      *y = SiluMul(sum, value(token, r + kPanelRows));
      continue;
    }
    if (p.bias != nullptr) sum += p.bias[out];
    *y = p.accumulate ? *y + sum : sum;
  }
}

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kLinearThreads, 1) BatchKernel(LinearBatchParams params) {
  using Shared = BatchShared<Format, kTiles>;
  using S = typename Shared::S;
  LetNextKernelStart();
  extern __shared__ __align__(16) uint8_t bytes[];
  auto& shared = *reinterpret_cast<Shared*>(bytes);
  const LinearDecodeParams& p = params.linear;
  const BatchPlan& plan = params.plan;
  const int all_units = p.w.blocks / Format::kBlocks, all_groups = all_units * Format::kGroups;
  // A set of pairs has as many as a cluster has blocks.
  const int split = ClusterRank(), splits = plan.splits;
  const int first_unit = RangeOf(split * plan.ranges, all_units).begin;
  const int slab_units = RangeOf((split + 1) * plan.ranges - 1, all_units).end - first_unit;
  uint8_t* const slab = bytes + sizeof(Shared);
  const int slab_bytes = slab_units * Format::kBlocks * 4 * kStepBytes;
  float* const sums = reinterpret_cast<float*>(slab + size_t(kTiles) * slab_bytes);
  const int slab_groups = slab_units * Format::kGroups;

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int member = warp / plan.ranges;
  const UnitRange units = RangeOf(split * plan.ranges + warp % plan.ranges, all_units);
  const PairList pairs(p.w, p.gated);
  const int first_set = blockIdx.x / splits, set_step = gridDim.x / splits;
  typename S::Slot(&slots)[Shared::kDepth] = shared.slots[warp];

  // Copies run ahead through all the sets of this block.
  const auto source_of = [&](int set) {
    int panels[kPanels];
    pairs.Get(min(set * splits + member, pairs.count() - 1), panels);
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
            size_t(p.w.blocks) * 4 * kStepBytes, slab_bytes, kTiles, slab);
  if constexpr (Format::kHasParams) {
    CopyTiles(params.x_sums + first_unit * Format::kGroups * 8,
              size_t(all_groups) * 8 * sizeof(float), slab_groups * 8 * sizeof(float), kTiles,
              reinterpret_cast<uint8_t*>(sums));
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
  const auto add_up = [&](int set) {
    const auto& partial = shared.partial[set / set_step % 2];
    const int pair = set * splits + split;
    if (alone) {
      StoreOutputs<kTiles>(p, pairs, pair, [&](int token, int r) {
        return TreeSum<kColumnRanges>(
            [&](int range) { return partial[range][token * kPairRows + r]; });
      });
    } else {
      StoreOutputs<kTiles>(p, pairs, pair, [&](int token, int r) {
        return TreeSum<kColumnRanges>([&](int range) {
          const int in_block = split * plan.ranges + range % plan.ranges;
          return LoadFromPeer(&partial[in_block][token * kPairRows + r], range / plan.ranges);
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
      add_up(set - set_step);
    }
    float* const to = shared.partial[set / set_step % 2][warp];
#pragma unroll
    for (int i = 0; i < kPanels; ++i) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int r = i * kPanelRows + g + c / 2 * 8, token = n * 8 + 2 * q + c % 2;
          to[token * kPairRows + r] = stream.y[i][n][c];
        }
      }
    }
    arrive();
    last_set = set;
  }
  wait();
  add_up(last_set);
  // Others may still read this block's shared memory.
  arrive();
  wait();
}

int TilesFor(int tokens) { return tokens <= 8 ? 1 : tokens <= 16 ? 2 : 4; }

// The most ranges whose activations fit: clusters cost more than activations that several blocks
// read.
template <typename Format, int kTiles>
BatchPlan PlanTiles(const PackedMatrix& w, bool gated, const LaunchQueue& queue) {
  using Shared = BatchShared<Format, kTiles>;
  const int units = w.blocks / Format::kBlocks;
  const int unit_bytes =
      kTiles * (Format::kBlocks * 4 * kStepBytes +
                (Format::kHasParams ? Format::kGroups * 8 * static_cast<int>(sizeof(float)) : 0));
  for (int ranges = kColumnRanges; ranges > 0; ranges /= 2) {
    if (ranges < kColumnRanges && !queue.has_clusters()) break;
    int most = 0;
    for (int first = 0; first < kColumnRanges; first += ranges) {
      most = max(most, RangeOf(first + ranges - 1, units).end - RangeOf(first, units).begin);
    }
    const size_t bytes = sizeof(Shared) + size_t(most) * unit_bytes;
    if (bytes > queue.shared_limit()) continue;
    const int splits = kColumnRanges / ranges;
    return {.tokens = kTiles * 8,
            .ranges = ranges,
            .splits = splits,
            .sets = (PairList(w, gated).count() + splits - 1) / splits,
            .shared_bytes = bytes};
  }
  return {};
}

// Clusters that the device runs at once, a block per multiprocessor.
template <typename Kernel>
int ClustersAtOnce(Kernel kernel, const BatchPlan& plan, const LaunchQueue& queue) {
  const int most = queue.multiprocessors() / plan.splits;
  if (plan.splits == 1) return most;
  static std::map<std::tuple<Kernel, int, size_t>, int> known;
  int& count = known[{kernel, plan.splits, plan.shared_bytes}];
  if (count == 0) {
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = plan.splits;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = most * plan.splits;
    config.blockDim = kLinearThreads;
    config.dynamicSmemBytes = plan.shared_bytes;
    config.attrs = &cluster;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) count = most;
    count = max(1, min(count, most));
  }
  return count;
}

template <typename Format, int kTiles>
void Launch(const LinearBatchParams& params, LaunchQueue& queue) {
  const auto kernel = BatchKernel<Format, kTiles>;
  static const bool allowed = (AllowLargeShared(reinterpret_cast<const void*>(kernel)), true);
  (void)allowed;
  const BatchPlan& plan = params.plan;
  const int clusters = min(plan.sets, ClustersAtOnce(kernel, plan, queue));
  queue.Add(kernel, {clusters * plan.splits, kLinearThreads, plan.shared_bytes, true, plan.splits},
            params);
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
