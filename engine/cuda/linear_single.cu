// One row: a block goes through panels, its eight warps through a range of columns each. The
// first weights are on their way before earlier kernels have finished.
#include "engine/cuda/linear_rows.cuh"
#include "engine/cuda/linear_stream.cuh"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/silu.cuh"

namespace kvpareto::cuda {
namespace {

// As many blocks as fill a multiprocessor, so that all multiprocessors get the same number: with
// room left, those of a kernel that starts early crowd where the kernel before it ended first.
constexpr int kBlocksPerMultiprocessor = 3;
constexpr size_t kWarpBytes = 15 << 9;  // copied ahead

template <typename Format>
struct SingleShared {
  using S = Stream<Format, 1, 1, true>;
  static constexpr int kDepth = S::Depth(kWarpBytes);
  typename S::Slot slots[kLinearWarps][kDepth];
  // Of two panels, so that warps may be one panel apart.
  float partial[2][kLinearWarps][kPanelRows];
  // Then the row, [w.blocks * 64] bf16, and its sums, [groups] floats.
};

// The panels of a block in turn; with a gate, gates and what they gate alternate.
struct PanelList {
  int gate_panels;  // 0: no gate
  int count;

  __device__ PanelList(const LinearDecodeParams& p) : gate_panels(p.gated ? p.w.panels() / 2 : 0) {
    const int jobs = p.gated ? gate_panels : p.w.panels();
    const int own = (jobs - static_cast<int>(blockIdx.x) + gridDim.x - 1) / gridDim.x;
    count = p.gated ? 2 * own : own;
  }
  __device__ int operator[](int i) const {
    return gate_panels == 0 ? blockIdx.x + i * gridDim.x
                            : blockIdx.x + i / 2 * gridDim.x + i % 2 * gate_panels;
  }
};

template <typename Format>
__global__ void __launch_bounds__(kLinearThreads, kBlocksPerMultiprocessor)
    SingleKernel(LinearSingleParams params) {
  using Shared = SingleShared<Format>;
  using S = typename Shared::S;
  LetNextKernelStart();
  extern __shared__ __align__(16) uint8_t bytes[];
  auto& shared = *reinterpret_cast<Shared*>(bytes);
  uint16_t* const row = reinterpret_cast<uint16_t*>(bytes + sizeof(Shared));
  const LinearDecodeParams& p = params.linear;
  const int padded = p.w.blocks * kBlockCols;
  float* const sums = reinterpret_cast<float*>(row + padded);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const UnitRange units = RangeOf(warp, p.w.blocks / Format::kBlocks);
  const PanelList panels(p);
  typename S::Slot(&slots)[Shared::kDepth] = shared.slots[warp];

  // Copies run ahead through all the panels of this block.
  int copy_panel = 0, copy_unit = units.begin;
  typename S::Source source = S::SourceOf(p.w, {panels[0]}, units.begin, lane);
  const auto copy_next = [&](typename S::Slot& slot) {
    if (copy_unit < units.end) {
      S::Copy(source, lane, slot);
      if (++copy_unit == units.end && copy_panel + 1 < panels.count) {
        ++copy_panel;
        copy_unit = units.begin;
        source = S::SourceOf(p.w, {panels[copy_panel]}, units.begin, lane);
      }
    }
    CommitCopies();
  };
#pragma unroll
  for (int d = 0; d < Shared::kDepth; ++d) copy_next(slots[d]);
  {
    float4 weight[kKeptQuads];
    LoadNorm(params.norm, 0, p.w.cols, weight);
    WaitForEarlierKernels();
    RoundRow(params.x, p.w.cols, padded, params.norm, weight,
             [&](int c, uint2 quad) { *reinterpret_cast<uint2*>(row + c) = quad; });
  }
  __syncthreads();
  if constexpr (Format::kHasParams) {
    SumGroups(row, padded, p.w.group, sums);
    __syncthreads();
  }

  int slot = 0;
  float gate = 0.0f;
#pragma unroll 1
  for (int i = 0; i < panels.count; ++i) {
    const int panel = panels[i];
    // Which warp adds up a panel; the same for a gate and what it gates.
    const bool adds = warp == (p.gated ? i / 2 : i) % kLinearWarps && lane < kPanelRows;
    const int out = panel * kPanelRows + lane;
    float before = 0.0f;
    if (adds && p.accumulate && out < p.w.rows) before = p.y[out];
    S stream;
#pragma unroll 1
    for (int unit = units.begin; unit < units.end; ++unit) {
      // One group is committed per unit, be it empty: all but the newest kDepth - 1 have arrived.
      WaitForCopies<Shared::kDepth - 1>();
      typename S::Raw raw;
      S::Read(slots[slot], lane, raw);
      copy_next(slots[slot]);
      slot = slot + 1 == Shared::kDepth ? 0 : slot + 1;
      const uint16_t* const x = row + unit * (Format::kBlocks * kBlockCols) + 4 * q;
      const float* const x_sums = sums + unit * Format::kGroups;
      stream.Multiply(
          raw, [&](int, int s) { return *reinterpret_cast<const uint2*>(x + s * kStepCols); },
          [&](int, int j) { return make_float2(x_sums[j], x_sums[j]); });
    }
    auto& partial = shared.partial[i % 2];
    if (q == 0) {
      partial[warp][g] = stream.y[0][0][0];
      partial[warp][g + 8] = stream.y[0][0][2];
    }
    __syncthreads();
    if (adds && out < p.w.rows) {
      float sum = TreeSum<kColumnRanges>([&](int w) { return partial[w][lane]; });
      if (p.bias != nullptr) sum += p.bias[out];
      if (!p.gated) {
        p.y[out] = p.accumulate ? before + sum : sum;
      } else if (i % 2 == 0) {
        gate = sum;
      } else {
        p.y[out - panels.gate_panels * kPanelRows] = SiluMul(gate, sum);
      }
    }
  }
}

template <typename Format>
void Launch(const LinearSingleParams& params, LaunchQueue& queue) {
  const PackedMatrix& w = params.linear.w;
  const size_t shared = sizeof(SingleShared<Format>) +
                        size_t(w.blocks) * kBlockCols * sizeof(uint16_t) +
                        w.groups() * sizeof(float);
  const auto kernel = SingleKernel<Format>;
  static const bool allowed = (AllowLargeShared(reinterpret_cast<const void*>(kernel)), true);
  (void)allowed;
  const int jobs = params.linear.gated ? w.panels() / 2 : w.panels();
  const int blocks = min(jobs, queue.multiprocessors() * kBlocksPerMultiprocessor);
  queue.Add(kernel, {blocks, kLinearThreads, shared, true}, params);
}

}  // namespace

void LaunchLinearSingle(const LinearSingleParams& params, LaunchQueue& queue) {
  VisitWeightFormat(params.linear.w, [&](auto format) { Launch<decltype(format)>(params, queue); });
}

}  // namespace kvpareto::cuda
