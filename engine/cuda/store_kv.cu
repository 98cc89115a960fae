#include "engine/base/float16.h"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/rope.cuh"
#include "engine/cuda/store_kv.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 128;

// Where K or V of a head begins, and its codec.
struct OpenTile {
  std::byte* data;
  bool wide;  // floats
  kv::Role role;
};
__device__ OpenTile TileOf(const StoreItem& item, int head, kv::Role role) {
  const kv::LayerLayout& layout = item.layout;
  const bool key = role == kv::Role::kKey;
  return {item.data + (key ? layout.k_offset + head * layout.k_tile_bytes
                           : layout.v_offset + head * layout.v_tile_bytes),
          (key ? layout.k_codec : layout.v_codec) == kv::CodecId::kF32, role};
}

__device__ void Store(const OpenTile& tile, const StoreItem& item, int slot, int channel,
                      int head_dim, float value) {
  const int element = kv::ElementIndex(tile.role, slot, channel, item.layout.tile_tokens, head_dim);
  if (tile.wide) {
    reinterpret_cast<float*>(tile.data)[element] = value;
  } else {
    reinterpret_cast<uint16_t*>(tile.data)[element] = FloatToBf16(value);
  }
}

// One block per item, head and role, and per kThreads elements in turn. Keys go token by token so
// that a warp writes neighbouring words; values channel by channel.
__global__ void StoreKvKernel(StoreParams p) {
  BeginOverlapped();
  const StoreItem item = p.items[blockIdx.x];
  const int head = blockIdx.y / 2;
  const bool key = blockIdx.y % 2 == 0;
  const OpenTile tile = TileOf(item, head, key ? kv::Role::kKey : kv::Role::kValue);
  const float* from = p.qkv + size_t(item.first_row) * p.stride +
                      (key ? p.k_first_col : p.v_first_col) + head * p.head_dim;
  const int elements = item.num_tokens * p.head_dim;
  for (int i = blockIdx.z * kThreads + threadIdx.x; i < elements; i += gridDim.z * kThreads) {
    const int token = key ? i % item.num_tokens : i / p.head_dim;
    const int channel = key ? i / item.num_tokens : i % p.head_dim;
    Store(tile, item, item.first_slot + token, channel, p.head_dim,
          from[size_t(token) * p.stride + channel]);
  }
}

// Blocks: rows x heads of Q, K and V; a thread per pair of channels.
__global__ void RopeStoreKernel(RopeParams rope, StoreParams p) {
  LetNextKernelStart();
  const int row = blockIdx.x, head = blockIdx.y, pair = threadIdx.x, pairs = blockDim.x;
  const bool value = head >= rope.heads;
  const int column =
      value ? p.v_first_col + (head - rope.heads) * p.head_dim : rope.first_col + head * p.head_dim;
  const bool key = !value && column >= p.k_first_col;
  const StoreItem item = p.items[row];
  const float frequency = rope.frequency[pair];
  const int position = rope.positions[row];
  float* const x = rope.x + size_t(row) * rope.stride + column;
  WaitForEarlierKernels();
  float2 v = make_float2(x[pair], x[pair + pairs]);
  if (!value) {
    v = Rotate(v, position, frequency);
    x[pair] = v.x;
    x[pair + pairs] = v.y;
  }
  if (!value && !key) return;
  const int kv_head = (column - (key ? p.k_first_col : p.v_first_col)) / p.head_dim;
  const OpenTile tile = TileOf(item, kv_head, key ? kv::Role::kKey : kv::Role::kValue);
  Store(tile, item, item.first_slot, pair, p.head_dim, v.x);
  Store(tile, item, item.first_slot, pair + pairs, p.head_dim, v.y);
}

}  // namespace

void LaunchStoreKv(const StoreParams& p, LaunchQueue& queue) {
  const int parts = (p.max_tokens * p.head_dim + kThreads * 8 - 1) / (kThreads * 8);
  const dim3 grid(p.num_items, 2 * p.kv_heads, parts);
  queue.Add(StoreKvKernel, {grid, kThreads, 0, true}, p);
}

void LaunchRopeStore(const RopeParams& rope, const StoreParams& p, LaunchQueue& queue) {
  const dim3 grid(rope.rows, rope.heads + p.kv_heads);
  queue.Add(RopeStoreKernel, {grid, p.head_dim / 2, 0, true}, rope, p);
}

}  // namespace kvpareto::cuda
