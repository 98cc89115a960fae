// A block makes the rows of one item and KV head: a thread per chunk of 8 channels of a token, in
// the order in which reading the tile is fast; then the chunks, through shared memory, in the order
// in which writing rows is.
#include <type_traits>

#include "engine/cuda/dense_tiles.h"
#include "engine/cuda/mma.cuh"
#include "engine/kv/codec_list.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ uint4 PackChunk(const float (&x)[kChunkChannels]) {
  return make_uint4(PackBf16(x[0], x[1]), PackBf16(x[2], x[3]), PackBf16(x[4], x[5]),
                    PackBf16(x[6], x[7]));
}

// Chunk `chunk` of the token at `slot` of an open bf16 tile.
template <int D>
__device__ __forceinline__ uint4 OpenChunk(const std::byte* tile, const DenseItem& item,
                                           kv::Role role, int slot, int chunk) {
  if (role == kv::Role::kKey) {
    const auto* word =
        reinterpret_cast<const uint32_t*>(tile) + size_t(chunk) * 4 * item.tile_tokens + slot;
    return make_uint4(word[0], word[item.tile_tokens], word[2 * item.tile_tokens],
                      word[3 * item.tile_tokens]);
  }
  const auto* pairs = reinterpret_cast<const uint4*>(tile) + size_t(slot / 2) * (D / 4) + 2 * chunk;
  const uint4 a = pairs[0], b = pairs[1];
  const uint32_t half = slot % 2 == 0 ? 0x5410 : 0x7632;
  return make_uint4(__byte_perm(a.x, a.y, half), __byte_perm(a.z, a.w, half),
                    __byte_perm(b.x, b.y, half), __byte_perm(b.z, b.w, half));
}

// The same of an encoded tile, by the codec's definition.
template <typename Codec>
__device__ __forceinline__ uint4 EncodedChunk(kv::TileElement element, int chunk) {
  float x[kChunkChannels];
#pragma unroll
  for (int i = 0; i < kChunkChannels; ++i) {
    element.channel = chunk * kChunkChannels + i;
    x[i] = Codec::At(element);
  }
  return PackChunk(x);
}

// Codecs of whole codes in bytes (bit_packing.h), a few loads per chunk: the codes of a pair of
// channels, or of eight channels of a pair of tokens, are neighbouring bytes.
template <typename Codec>
inline constexpr bool kIsPacked = false;
template <int kBits, typename Policy>
inline constexpr bool kIsPacked<kv::IntCodec<kBits, Policy>> = 8 % kBits == 0;

// The codes, each in the low bits of a word whose other bits are of no meaning.
template <typename Codec, kv::Role kRole, int D>
__device__ __forceinline__ void LoadCodes(const std::byte* encoded, int slot, int chunk,
                                          uint32_t (&codes)[kChunkChannels]) {
  using Packing = typename Codec::Packing;
  if constexpr (kRole == kv::Role::kKey) {
#pragma unroll
    for (int i = 0; i < kChunkChannels; i += 2) {
      const int element =
          kv::ElementIndex(kRole, slot, chunk * kChunkChannels + i, kv::kBlockTokens, D);
      const uint32_t pair =
          *reinterpret_cast<const uint16_t*>(encoded + Packing::ByteOf(element)) >>
          Packing::ShiftOf(element);
      codes[i] = pair;
      codes[i + 1] = pair >> 8;
    }
  } else {
    const int element =
        kv::ElementIndex(kRole, slot / 2 * 2, chunk * kChunkChannels, kv::kBlockTokens, D);
    const uint4 raw = *reinterpret_cast<const uint4*>(encoded + Packing::ByteOf(element));
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    const int shift = Packing::ShiftOf(element) + slot % 2 * 8;
#pragma unroll
    for (int i = 0; i < kChunkChannels; ++i) codes[i] = words[i / 2] >> (shift + i % 2 * 16);
  }
}

// A group's scale and zero point; 2^23 + code - offset is code - zero, exactly.
struct GroupParams {
  float scale = 0.0f;
  float offset = 0.0f;
};
template <typename Codec>
__device__ __forceinline__ GroupParams LoadGroup(const kv::TileElement& element, int group) {
  constexpr float kMagic = 0x1p23f;
  if constexpr (Codec::kStaticRange) {
    const kv::QuantParams params = Codec::StaticParams(element.range);
    return {params.scale, kMagic + static_cast<float>(params.zero)};
  } else {
    const int d = element.head_dim;
    const auto* scales = reinterpret_cast<const __half*>(element.encoded + Codec::ScaleOffset(d));
    const auto* zeros = reinterpret_cast<const int16_t*>(element.encoded + Codec::ZeroOffset(d));
    return {__half2float(scales[group]), kMagic + static_cast<float>(zeros[group])};
  }
}

template <typename Codec, kv::Role kRole, int D>
__device__ __forceinline__ uint4 PackedChunk(const kv::TileElement& element, int chunk) {
  constexpr bool kChannel = Codec::kGranularity == kv::Granularity::kPerChannel;
  constexpr uint32_t kMagic = 0x4b000000u;  // 2^23 as bits of a float
  uint32_t codes[kChunkChannels];
  LoadCodes<Codec, kRole, D>(element.encoded, element.token, chunk, codes);
  float x[kChunkChannels];
  GroupParams params;
#pragma unroll
  for (int i = 0; i < kChunkChannels; ++i) {
    // Groups of channels are whole chunks.
    if (kChannel || i == 0) {
      const int channel = chunk * kChunkChannels + i;
      params = LoadGroup<Codec>(element, Codec::Policy::GroupOf(element.token, channel, D));
    }
    x[i] = (__uint_as_float((codes[i] & Codec::kMaxCode) | kMagic) - params.offset) * params.scale;
  }
  return PackChunk(x);
}

template <int D>
struct DenseShared {
  uint4 chunks[kv::kBlockTokens * D / kChunkChannels];
  __device__ uint4& At(int token, int chunk) {
    return chunks[token * (D / kChunkChannels) + (chunk ^ token % 8)];
  }
};

template <typename Codec, int D, kv::Role kRole>
__device__ void LoadChunks(const DenseBatch& batch, const DenseItem& item, const std::byte* tile,
                           DenseShared<D>& shared) {
  constexpr int kChunks = D / kChunkChannels;
  const int head = blockIdx.y;
  kv::TileElement element = {
      .role = kRole,
      .head_dim = D,
      .range = item.first_range < 0 ? kv::StaticRange{} : batch.ranges[item.first_range + head],
      .encoded = tile};
  for (int i = threadIdx.x; i < kv::kBlockTokens * kChunks; i += kThreads) {
    // Tiles have the tokens of a pair of channels side by side, or the channels of a pair of
    // tokens.
    const int token = kRole == kv::Role::kKey ? i % kv::kBlockTokens : i / kChunks;
    const int chunk = kRole == kv::Role::kKey ? i / kv::kBlockTokens : i % kChunks;
    if (token >= item.num_tokens) continue;
    uint4 value = {};
    if constexpr (std::is_same_v<Codec, kv::Bf16Codec>) {
      if (tile != nullptr) {
        value = OpenChunk<D>(tile, item, kRole, item.first_slot + token, chunk);
      }
    } else {
      element.token = item.first_slot + token;
      if constexpr (kIsPacked<Codec>) {
        value = PackedChunk<Codec, kRole, D>(element, chunk);
      } else {
        value = EncodedChunk<Codec>(element, chunk);
      }
    }
    shared.At(token, chunk) = value;
  }
}

template <typename Codec, int D>
__global__ void __launch_bounds__(kThreads) DenseKernel(const __grid_constant__ DenseBatch batch) {
  constexpr int kChunks = D / kChunkChannels;
  __shared__ DenseShared<D> shared;
  const DenseItem item = batch.items[blockIdx.x];
  const int head = blockIdx.y;
  const std::byte* tile =
      item.from == nullptr ? nullptr : item.from + size_t(head) * item.from_stride;
  if (batch.role == kv::Role::kKey) {
    LoadChunks<Codec, D, kv::Role::kKey>(batch, item, tile, shared);
  } else {
    LoadChunks<Codec, D, kv::Role::kValue>(batch, item, tile, shared);
  }
  __syncthreads();
  std::byte* const to = batch.to + head * batch.to_stride;
  for (int i = threadIdx.x; i < item.num_tokens * kChunks; i += kThreads) {
    const int token = i / kChunks, chunk = i % kChunks;
    *reinterpret_cast<uint4*>(to + DenseOffset(item.row + token, chunk, D)) =
        shared.At(token, chunk);
  }
}

template <int D>
void Launch(const DenseBatch& batch, LaunchQueue& queue) {
  const dim3 grid(batch.num_items, batch.kv_heads);
  kv::VisitCodec(batch.codec, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    if constexpr (!std::is_same_v<Codec, kv::F32Codec>) {
      queue.Add(DenseKernel<Codec, D>, {grid, kThreads, 0}, batch);
    }
  });
}

}  // namespace

void LaunchMakeDense(int head_dim, const DenseBatch& batch, LaunchQueue& queue) {
  if (batch.num_items == 0) return;
  head_dim == 64 ? Launch<64>(batch, queue) : Launch<128>(batch, queue);
}

}  // namespace kvpareto::cuda
