// Sealing by the definitions of kv/: the parameters of all groups first, then the codes, a word or
// a packing unit per thread. Compiled without fused multiply-add, so that the bytes are those of
// the host.
#include <type_traits>

#include "engine/base/float16.h"
#include "engine/cuda/codec_device.cuh"
#include "engine/cuda/seal.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxHeadDim = 256;
constexpr int kMaxGroups = kv::kBlockTokens * kMaxHeadDim / 32;

__device__ void Widen(kv::Extremes& extremes, float x) {
  extremes.min = x < extremes.min ? x : extremes.min;
  extremes.max = x > extremes.max ? x : extremes.max;
}

// A tile as floats: rows of tokens, padded so that a column's elements are in different banks.
struct FloatTile {
  float* values = nullptr;
  int pitch = 0;
  __device__ float& At(int token, int channel) const { return values[token * pitch + channel]; }
};
constexpr int PitchOf(int head_dim) { return head_dim + 1; }
// A multiple of 4: 16-byte words may follow.
constexpr int FloatsOf(int head_dim) { return kv::kBlockTokens * PitchOf(head_dim); }

// Extremes of elements first, first + step, ... of a group.
__device__ kv::Extremes FindExtremes(const kv::GroupRegion& region, FloatTile tile, int first,
                                     int step) {
  kv::Extremes extremes;
  for (int i = first; i < region.tokens * region.channels; i += step) {
    const int t = region.first_token + i / region.channels;
    const int c = region.first_channel + i % region.channels;
    Widen(extremes, kv::Saturate(tile.At(t, c)));
  }
  return extremes;
}

struct SharedParams {
  kv::QuantParams params[kMaxGroups];
  kv::Extremes partial[kThreads];
};

template <typename Codec>
__device__ void FitGroups(int head_dim, kv::StaticRange range, FloatTile tile, std::byte* encoded,
                          SharedParams& shared) {
  using Policy = typename Codec::Policy;
  const int groups = Policy::Groups(head_dim);
  // Few groups are shared among threads.
  const int sharers = groups >= kThreads ? 1 : kThreads / groups;
  const auto store = [&](int group, kv::Extremes extremes) {
    extremes = kv::ClipRange(extremes, range.clip);
    const kv::QuantParams params = kv::FitParams(extremes.min, extremes.max, Codec::kMaxCode);
    shared.params[group] = params;
    kv::StoreU16(encoded + Codec::ScaleOffset(head_dim), group, FloatToF16(params.scale));
    kv::StoreU16(encoded + Codec::ZeroOffset(head_dim), group, static_cast<uint16_t>(params.zero));
  };
  if (sharers == 1) {
    for (int group = threadIdx.x; group < groups; group += kThreads) {
      store(group, FindExtremes(Policy::Region(group, head_dim), tile, 0, 1));
    }
    return;
  }
  const int group = threadIdx.x / sharers, part = threadIdx.x % sharers;
  if (group < groups) {
    shared.partial[threadIdx.x] =
        FindExtremes(Policy::Region(group, head_dim), tile, part, sharers);
  }
  __syncthreads();
  if (group < groups && part == 0) {
    kv::Extremes extremes;
    for (int i = 0; i < sharers; ++i) {
      Widen(extremes, shared.partial[threadIdx.x + i].min);
      Widen(extremes, shared.partial[threadIdx.x + i].max);
    }
    store(group, extremes);
  }
}

template <typename Codec>
__device__ uint8_t CodeOf(const kv::TileElement& view, FloatTile tile, int element,
                          const SharedParams& shared) {
  const Place place = PlaceOfElement(view.role, element, view.head_dim);
  kv::QuantParams params;
  if constexpr (Codec::kStaticRange) {
    params = Codec::StaticParams(view.range);
  } else {
    params = shared.params[Codec::Policy::GroupOf(place.token, place.channel, view.head_dim)];
  }
  return kv::Quantize(kv::Saturate(tile.At(place.token, place.channel)), params, Codec::kMaxCode);
}

template <typename Codec>
__device__ void EncodeInt(const kv::TileElement& view, FloatTile tile, std::byte* encoded,
                          SharedParams& shared) {
  using Packing = typename Codec::Packing;
  constexpr int kBits = Codec::kBits, kUnit = Packing::kUnitElements;
  const int d = view.head_dim;
  if constexpr (!Codec::kStaticRange) {
    FitGroups<Codec>(d, view.range, tile, encoded, shared);
    __syncthreads();
  }
  if constexpr (8 % kBits == 0) {
    // Four bytes at once: byte j of a unit has elements j, 32 + j, ... (bit_packing.h).
    constexpr int kWords = Packing::kUnitBytes / 4;
    for (int i = threadIdx.x; i < kv::kBlockTokens * d / kUnit * kWords; i += kThreads) {
      uint32_t word = 0;
#pragma unroll
      for (int j = 0; j < 32 / kBits; ++j) {
        const int byte = j % 4, sub = j / 4;
        const int element = i / kWords * kUnit + sub * Packing::kUnitBytes + i % kWords * 4 + byte;
        word |= uint32_t{CodeOf<Codec>(view, tile, element, shared)} << (8 * byte + kBits * sub);
      }
      reinterpret_cast<uint32_t*>(encoded)[i] = word;
    }
  } else {
    for (int unit = threadIdx.x; unit < kv::kBlockTokens * d / kUnit; unit += kThreads) {
      for (int element = unit * kUnit; element < (unit + 1) * kUnit; ++element) {
        Packing::Set(encoded, element, CodeOf<Codec>(view, tile, element, shared));
      }
    }
  }
}

__device__ float LoadOpen(const std::byte* tile, kv::CodecId codec, int element) {
  return codec == kv::CodecId::kF32 ? reinterpret_cast<const float*>(tile)[element]
                                    : Bf16ToFloat(reinterpret_cast<const uint16_t*>(tile)[element]);
}

// One block per tile. Dynamic shared memory: the tile as floats, then its encoding. kHeadDim: that
// of the batch, known beforehand because most of the work is finding elements' places; 0: any.
template <typename Codec, int kHeadDim>
__global__ void __launch_bounds__(kThreads) SealKernel(const __grid_constant__ TileBatch batch) {
  extern __shared__ __align__(16) float values[];
  __shared__ SharedParams shared;
  const TileItem item = batch.items[blockIdx.x];
  const int head = blockIdx.y, d = kHeadDim > 0 ? kHeadDim : batch.head_dim;
  const std::byte* from = item.from + size_t(head) * item.from_stride;
  std::byte* to = item.to + size_t(head) * item.to_stride;
  const int elements = kv::kBlockTokens * d;
  const FloatTile tile = {values, PitchOf(d)};
  std::byte* encoded = reinterpret_cast<std::byte*>(values + FloatsOf(d));
  const int bytes = static_cast<int>(Codec::Regions(batch.role, d).bytes);
#pragma unroll 8
  for (int i = threadIdx.x; i < elements; i += kThreads) {
    const Place place = PlaceOfElement(batch.role, i, d);
    tile.At(place.token, place.channel) = LoadOpen(from, batch.open_codec, i);
  }
  for (int i = threadIdx.x; i < bytes / 4; i += kThreads) {
    reinterpret_cast<uint32_t*>(encoded)[i] = 0;
  }
  __syncthreads();
  const kv::TileElement view = {
      .role = batch.role, .head_dim = d, .range = RangeOf(batch.ranges, item.first_range, head)};
  if constexpr (std::is_same_v<Codec, kv::Fp8Codec>) {
    for (int i = threadIdx.x; i < elements; i += kThreads) {
      const Place place = PlaceOfElement(batch.role, i, d);
      encoded[i] = std::byte{Codec::FromFloat(tile.At(place.token, place.channel))};
    }
  } else {
    EncodeInt<Codec>(view, tile, encoded, shared);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < bytes / 16; i += kThreads) {
    reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(encoded)[i];
  }
}

// Open to open: one of them, or both, may be f32.
__global__ void CopyKernel(const __grid_constant__ TileBatch batch) {
  const TileItem item = batch.items[blockIdx.x];
  const std::byte* from = item.from + size_t(blockIdx.y) * item.from_stride;
  std::byte* to = item.to + size_t(blockIdx.y) * item.to_stride;
  for (int i = threadIdx.x; i < kv::kBlockTokens * batch.head_dim; i += blockDim.x) {
    const float value = LoadOpen(from, batch.open_codec, i);
    if (batch.codec == kv::CodecId::kF32) {
      reinterpret_cast<float*>(to)[i] = value;
    } else {
      reinterpret_cast<uint16_t*>(to)[i] = FloatToBf16(value);
    }
  }
}

// Codecs that SealKernel knows.
template <typename Codec>
inline constexpr bool kHasKernel = std::is_same_v<Codec, kv::Fp8Codec>;
template <int kBits, typename Policy>
inline constexpr bool kHasKernel<kv::IntCodec<kBits, Policy>> = true;

template <typename Codec, int kHeadDim>
void Seal(const TileBatch& batch, dim3 grid, LaunchQueue& queue) {
  const auto kernel = SealKernel<Codec, kHeadDim>;
  static const bool allowed = (AllowLargeShared(reinterpret_cast<const void*>(kernel)), true);
  (void)allowed;
  const size_t shared =
      sizeof(float) * FloatsOf(batch.head_dim) + Codec::Regions(batch.role, batch.head_dim).bytes;
  queue.Add(kernel, {grid, kThreads, shared}, batch);
}

}  // namespace

bool CanSeal(kv::CodecId codec) {
  bool can = codec == kv::CodecId::kBf16 || codec == kv::CodecId::kF32;
  kv::VisitCodec(codec, [&](auto tag) { can = can || kHasKernel<typename decltype(tag)::type>; });
  return can;
}

void LaunchSeal(const TileBatch& batch, LaunchQueue& queue) {
  const dim3 grid(batch.num_items, batch.kv_heads);
  if (batch.codec == kv::CodecId::kBf16 || batch.codec == kv::CodecId::kF32) {
    queue.Add(CopyKernel, {grid, kThreads, 0}, batch);
    return;
  }
  kv::VisitCodec(batch.codec, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    if constexpr (kHasKernel<Codec>) {
      batch.head_dim == 128 ? Seal<Codec, 128>(batch, grid, queue)
                            : Seal<Codec, 0>(batch, grid, queue);
    }
  });
}

}  // namespace kvpareto::cuda
