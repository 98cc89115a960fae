#include "engine/base/float16.h"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/store_kv.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 128;

// One block per item, head and role, and per kThreads elements in turn. Keys go token by token so
// that a warp writes neighbouring words; values channel by channel.
__global__ void StoreKvKernel(StoreParams p) {
  BeginOverlapped();
  const StoreItem item = p.items[blockIdx.x];
  const int head = blockIdx.y / 2;
  const bool key = blockIdx.y % 2 == 0;
  const kv::LayerLayout& layout = item.layout;
  const kv::Role role = key ? kv::Role::kKey : kv::Role::kValue;
  std::byte* tile = item.data + (key ? layout.k_offset + head * layout.k_tile_bytes
                                     : layout.v_offset + head * layout.v_tile_bytes);
  const bool wide = (key ? layout.k_codec : layout.v_codec) == kv::CodecId::kF32;
  const float* from = p.qkv + size_t(item.first_row) * p.stride +
                      (key ? p.k_first_col : p.v_first_col) + head * p.head_dim;
  const int elements = item.num_tokens * p.head_dim;
  for (int i = blockIdx.z * kThreads + threadIdx.x; i < elements; i += gridDim.z * kThreads) {
    const int token = key ? i % item.num_tokens : i / p.head_dim;
    const int channel = key ? i / item.num_tokens : i % p.head_dim;
    const float value = from[size_t(token) * p.stride + channel];
    const int element =
        kv::ElementIndex(role, item.first_slot + token, channel, layout.tile_tokens, p.head_dim);
    if (wide) {
      reinterpret_cast<float*>(tile)[element] = value;
    } else {
      reinterpret_cast<uint16_t*>(tile)[element] = FloatToBf16(value);
    }
  }
}

}  // namespace

void LaunchStoreKv(const StoreParams& p, LaunchQueue& queue) {
  const int parts = (p.max_tokens * p.head_dim + kThreads * 8 - 1) / (kThreads * 8);
  const dim3 grid(p.num_items, 2 * p.kv_heads, parts);
  queue.Add(StoreKvKernel, {grid, kThreads, 0, true}, p);
}

}  // namespace kvpareto::cuda
