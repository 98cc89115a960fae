// By the codecs' scalar definitions, and without fused multiply-add: values are those of the host.
#include "engine/base/float16.h"
#include "engine/cuda/codec_device.cuh"
#include "engine/cuda/mma.cuh"
#include "engine/cuda/unseal.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 256;

// One block per tile, one thread per element in turn.
template <typename Codec>
__global__ void UnsealKernel(const __grid_constant__ TileBatch batch) {
  const TileItem item = batch.items[blockIdx.x];
  const int head = blockIdx.y;
  kv::TileElement element = {.role = batch.role,
                             .head_dim = batch.head_dim,
                             .range = RangeOf(batch.ranges, item.first_range, head),
                             .encoded = item.from + size_t(head) * item.from_stride};
  std::byte* to = item.to + size_t(head) * item.to_stride;
  for (int i = threadIdx.x; i < kv::kBlockTokens * batch.head_dim; i += blockDim.x) {
    const Place place = PlaceOfElement(batch.role, i, batch.head_dim);
    element.token = place.token;
    element.channel = place.channel;
    const float value = Codec::At(element);
    if (batch.open_codec == kv::CodecId::kF32) {
      reinterpret_cast<float*>(to)[i] = value;
    } else {
      reinterpret_cast<uint16_t*>(to)[i] = FloatToBf16(value);
    }
  }
}

// A pair of elements per thread in turn. Role and head size are constants, so that what is left of
// the codec's definition is loads and a few operations.
template <typename Codec, int D, kv::Role kRole>
__device__ void UnsealPairs(const std::byte* encoded, kv::StaticRange range, uint32_t* to) {
#pragma unroll 4
  for (int pair = threadIdx.x; pair < kv::kBlockTokens * D / 2; pair += kThreads) {
    float value[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Place place = PlaceOfElement(kRole, 2 * pair + i, D);
      value[i] = Codec::At({.role = kRole,
                            .head_dim = D,
                            .range = range,
                            .encoded = encoded,
                            .token = place.token,
                            .channel = place.channel});
    }
    to[pair] = PackBf16(value[0], value[1]);
  }
}

template <typename Codec, int D>
__global__ void __launch_bounds__(kThreads)
    UnsealDecodeKernel(const __grid_constant__ UnsealDecodeParams p) {
  const int tile = blockIdx.x, head = blockIdx.y;
  if (tile >= p.num_tiles) return;
  const bool keys = p.role == kv::Role::kKey;
  const DecodeSequence& sequence = p.sequences[p.tile_sequence[tile]];
  const TilePlaces& places = sequence.sealed;
  const std::byte* const encoded =
      p.tiles[tile] + (keys ? places.k_offset + size_t(head) * places.k_stride
                            : places.v_offset + size_t(head) * places.v_stride);
  const kv::StaticRange range =
      RangeOf(p.ranges, keys ? sequence.first_k_range : sequence.first_v_range, head);
  constexpr size_t kOpenBytes = sizeof(uint16_t) * kv::kBlockTokens * D;
  auto* const to = reinterpret_cast<uint32_t*>(p.to + tile * DecodedTileBytes(p.kv_heads, D) +
                                               (keys ? head : p.kv_heads + head) * kOpenBytes);
  keys ? UnsealPairs<Codec, D, kv::Role::kKey>(encoded, range, to)
       : UnsealPairs<Codec, D, kv::Role::kValue>(encoded, range, to);
}

}  // namespace

void LaunchUnseal(const TileBatch& batch, LaunchQueue& queue) {
  const dim3 grid(batch.num_items, batch.kv_heads);
  kv::VisitCodec(batch.codec, [&](auto tag) {
    queue.Add(UnsealKernel<typename decltype(tag)::type>, {grid, kThreads, 0}, batch);
  });
}

void LaunchUnsealDecode(const UnsealDecodeParams& params, LaunchQueue& queue) {
  const dim3 grid(params.grid_tiles, params.kv_heads);
  kv::VisitCodec(params.codec, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    params.head_dim == 64 ? queue.Add(UnsealDecodeKernel<Codec, 64>, {grid, kThreads, 0}, params)
                          : queue.Add(UnsealDecodeKernel<Codec, 128>, {grid, kThreads, 0}, params);
  });
}

}  // namespace kvpareto::cuda
