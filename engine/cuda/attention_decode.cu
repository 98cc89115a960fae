#include <type_traits>

#include "engine/cuda/attention_decode.h"
#include "engine/cuda/decode_sealed.cuh"
#include "engine/cuda/overlap.cuh"

namespace kvpareto::cuda {
namespace {

constexpr float kLog2E = 1.44269504088896340736f;

template <int D>
__device__ void LoadQueries(const DecodeAttentionParams& p, const DecodeSequence& sequence,
                            QueryTile<D>& queries) {
  const int group = p.heads / p.kv_heads, row_blocks = (group + kDecodeRows - 1) / kDecodeRows;
  const int kv_head = blockIdx.x / row_blocks, first_head = blockIdx.x % row_blocks * kDecodeRows;
  const float* from = p.q + size_t(sequence.row) * p.q_stride + (kv_head * group + first_head) * D;
  for (int i = threadIdx.x; i < kDecodeRows * D; i += kDecodeThreads) {
    const int r = i / D, c = i % D;
    queries.values[r * QueryTile<D>::kPitch + c] =
        first_head + r < group ? from[i] * (p.scale * kLog2E) : 0.0f;
  }
  __syncthreads();
}

template <typename Reader, int D>
__device__ void StoreState(const DecodeState<D>& state, MergeBuffer<D>& buffer) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float l = DecodeState<D>::QuerySum(state.l[e]);
    if (g == 0) {
      buffer.m[warp][2 * q + e] = state.m[e];
      buffer.l[warp][2 * q + e] = l;
    }
  }
#pragma unroll
  for (int n = 0; n < D / 16; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      buffer.o[warp][2 * q + c % 2][Reader::ChannelOf(2 * n + c / 2, g)] = state.o[n][c];
    }
  }
}

template <int D, int kTokens>
__device__ void RunOpenItem(const DecodeAttentionParams& p, const DecodeItem& item,
                            QueryTile<D>& queries, int kv_head, MergeBuffer<D>& buffer) {
  const DecodeSequence& sequence = p.sequences[item.sequence];
  DecodeState<D> state;
  OpenReader<D, kTokens> reader(p.windows + item.first, item.count, sequence, kv_head);
  WaitForEarlierKernels();
  LoadQueries<D>(p, sequence, queries);
  reader.Run(queries, state);
  StoreState<OpenReader<D, kTokens>>(state, buffer);
}

// Shared memory of a block. The merge begins when all tiles have been read.
template <int D, typename Reader>
struct DecodeShared {
  QueryTile<D> queries;
  union {
    typename Reader::Stage stages[kDecodeWarps];
    MergeBuffer<D> merge;
  };
};
// Where there are no sealed tiles.
struct NoReader {
  struct Stage {
    int unused;
  };
};

// Grid: (KV heads, blocks of 8 of their query heads) x items, so that blocks that run at once read
// the same extents. Reader: of sealed tiles; NoReader where there are none, and open windows are
// read in larger pieces.
// Blocks per multiprocessor, from what tiles take of its shared memory (228 KB on H100) and what
// registers allow.
template <int D, typename Reader>
constexpr int BlocksPerMultiprocessor() {
  if (std::is_same_v<Reader, NoReader>) return 2;
  const size_t blocks = (size_t{227} << 10) / (sizeof(DecodeShared<D, Reader>) + 1024);
  return blocks > 4 ? 4 : static_cast<int>(blocks);
}

template <int D, typename Reader>
__global__ void __launch_bounds__(kDecodeThreads, (BlocksPerMultiprocessor<D, Reader>()))
    DecodeKernel(DecodeAttentionParams p) {
  // Tables are there before any kernel of the step, sealed tiles since earlier steps: both are read
  // before the queries are there.
  extern __shared__ __align__(128) uint8_t bytes[];
  auto& shared = *reinterpret_cast<DecodeShared<D, Reader>*>(bytes);
  const DecodeItem item = p.items[blockIdx.y];
  if (item.count == 0) return;
  const DecodeSequence sequence = p.sequences[item.sequence];
  const int row_blocks = gridDim.x / p.kv_heads, kv_head = blockIdx.x / row_blocks;
  if constexpr (std::is_same_v<Reader, NoReader>) {
    RunOpenItem<D, 32>(p, item, shared.queries, kv_head, shared.merge);
  } else if (item.open) {
    RunOpenItem<D, 16>(p, item, shared.queries, kv_head, shared.merge);
  } else {
    const int warp = threadIdx.x / 32;
    Reader reader(shared.queries, shared.stages[warp], threadIdx.x % 32);
    reader.Start(p.tiles + sequence.first_tile + item.first, item.count, sequence, kv_head, warp);
    WaitForEarlierKernels();
    LoadQueries<D>(p, sequence, shared.queries);
    DecodeState<D> state;
    reader.Run(sequence.first_sealed_position + item.first * kv::kBlockTokens,
               sequence.oldest_position, state);
    __syncthreads();
    StoreState<Reader>(state, shared.merge);
  }
  // All tiles have been asked for: memory is free for the next kernel's weights.
  LetNextKernelStart();
  MergeAndStore<D>(p, item, sequence, shared.merge);
}

template <int D, typename Reader>
void Launch(const DecodeAttentionParams& p, LaunchQueue& queue) {
  const dim3 grid(p.kv_heads * DecodeRowBlocks(p.heads, p.kv_heads), p.num_items);
  constexpr size_t kShared = sizeof(DecodeShared<D, Reader>);
  static const bool allowed =
      (AllowLargeShared(reinterpret_cast<const void*>(DecodeKernel<D, Reader>)), true);
  (void)allowed;
  queue.Add(DecodeKernel<D, Reader>, {grid, kDecodeThreads, kShared, true}, p);
}

using kv::IntCodec;
using kv::PerChannel;
using kv::PerToken;

// Pairs of keys and values that have a kernel. To add one: a line here.
template <int D>
using SealedReaders =
    kv::TypeList<SealedReader<D, IntCodec<8, PerToken<0>>, IntCodec<8, PerToken<0>>>,
                 SealedReader<D, IntCodec<8, PerToken<0>>, IntCodec<4, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerToken<0>>, IntCodec<4, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerToken<0>>, IntCodec<2, PerToken<0>>>,
                 SealedReader<D, IntCodec<2, PerToken<0>>, IntCodec<2, PerToken<0>>>,
                 SealedReader<D, IntCodec<8, PerChannel>, IntCodec<8, PerToken<0>>>,
                 SealedReader<D, IntCodec<8, PerChannel>, IntCodec<4, PerToken<0>>>,
                 SealedReader<D, IntCodec<6, PerChannel>, IntCodec<6, PerToken<0>>>,
                 SealedReader<D, IntCodec<6, PerChannel>, IntCodec<4, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerChannel>, IntCodec<4, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerChannel>, IntCodec<4, PerToken<32>>>,
                 SealedReader<D, IntCodec<4, PerChannel>, IntCodec<3, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerChannel>, IntCodec<2, PerToken<0>>>,
                 SealedReader<D, IntCodec<4, PerChannel>, IntCodec<2, PerToken<32>>>,
                 SealedReader<D, IntCodec<3, PerChannel>, IntCodec<3, PerToken<0>>>,
                 SealedReader<D, IntCodec<2, PerChannel>, IntCodec<2, PerToken<0>>>,
                 SealedReader<D, IntCodec<2, PerChannel>, IntCodec<2, PerToken<32>>>>;

template <typename Codec>
bool Is(kv::CodecId id) {
  bool same = false;
  kv::VisitCodec(id, [&](auto tag) { same = std::is_same_v<typename decltype(tag)::type, Codec>; });
  return same;
}

// Calls f with the tag of the pair's reader; false when there is none.
template <int D, typename F>
bool VisitReader(kv::CodecId k, kv::CodecId v, F f) {
  if (k == kv::CodecId::kBf16 && v == kv::CodecId::kBf16) {
    f(kv::CodecTag<NoReader>{});
    return true;
  }
  return [&]<typename... Readers>(kv::TypeList<Readers...>) {
    return ((Is<typename Readers::Keys>(k) && Is<typename Readers::Values>(v) &&
             (f(kv::CodecTag<Readers>{}), true)) ||
            ...);
  }(SealedReaders<D>{});
}

}  // namespace

int DecodeBlocksAtOnce(kv::CodecId k, kv::CodecId v, int head_dim) {
  int blocks = 1;
  const auto visit = [&]<int D>(std::integral_constant<int, D>) {
    VisitReader<D>(k, v, [&](auto tag) {
      blocks = BlocksPerMultiprocessor<D, typename decltype(tag)::type>();
    });
  };
  head_dim == 64 ? visit(std::integral_constant<int, 64>{})
                 : visit(std::integral_constant<int, 128>{});
  return blocks;
}

int DecodeRowBlocks(int heads, int kv_heads) {
  return (heads / kv_heads + kDecodeRows - 1) / kDecodeRows;
}

size_t DecodePartialFloats(int items, int heads, int kv_heads, int head_dim) {
  return size_t(items) * kv_heads * DecodeRowBlocks(heads, kv_heads) * kDecodeRows * (head_dim + 2);
}

bool HasDecodeKernel(kv::CodecId k, kv::CodecId v, int head_dim) {
  const auto nothing = [](auto) {};
  return head_dim == 64    ? VisitReader<64>(k, v, nothing)
         : head_dim == 128 ? VisitReader<128>(k, v, nothing)
                           : false;
}

void LaunchDecodeAttention(kv::CodecId k, kv::CodecId v, int head_dim,
                           const DecodeAttentionParams& p, LaunchQueue& queue) {
  if (head_dim == 64) {
    VisitReader<64>(k, v, [&](auto tag) { Launch<64, typename decltype(tag)::type>(p, queue); });
  } else {
    VisitReader<128>(k, v, [&](auto tag) { Launch<128, typename decltype(tag)::type>(p, queue); });
  }
}

}  // namespace kvpareto::cuda
