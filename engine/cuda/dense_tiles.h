// Keys and values of one sequence and layer as bf16 rows in position order, in the layout that
// wgmma reads from shared memory, whatever extents and codecs they come from.
//
// A dense tile is kDenseTokens rows, one after the other in memory, [head_dim / 64 slabs][rows][64
// channels]: a row of a slab is 128 bytes, its 16-byte chunk c stands at place c ^ row % 8. So a
// bulk copy of a whole tile is an operand (wgmma.cuh).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/kv/codec.h"

namespace kvpareto::cuda {

inline constexpr int kDenseTokens = 128;
inline constexpr int kSlabChannels = 64;
inline constexpr int kChunkChannels = 8;  // 16 bytes
inline constexpr int kSlabBytes = kDenseTokens * kSlabChannels * 2;

constexpr int DenseTileBytes(int head_dim) { return kDenseTokens * head_dim * 2; }

// Where chunk `chunk` of row `row` stands, counted from the first tile.
constexpr size_t DenseOffset(int row, int chunk, int head_dim) {
  constexpr int kSlabChunks = kSlabChannels / kChunkChannels;
  return size_t(row / kDenseTokens) * DenseTileBytes(head_dim) + chunk / kSlabChunks * kSlabBytes +
         row % kDenseTokens * 128 + ((chunk % kSlabChunks) ^ row % 8) * 16;
}

// Up to kBlockTokens consecutive tokens of one tile, of all KV heads.
struct DenseItem {
  const std::byte* from = nullptr;  // tile of KV head 0; null: the rows become zero
  uint32_t from_stride = 0;         // bytes from head to head
  int32_t tile_tokens = 0;
  int32_t first_slot = 0;
  int32_t num_tokens = 0;
  int32_t row = 0;           // that the first token becomes
  int32_t first_range = -1;  // of the KV heads' static ranges; -1: defaults
};

// Items of one codec and role.
struct DenseBatch {
  kv::CodecId codec = kv::CodecId::kBf16;  // not f32
  kv::Role role = kv::Role::kKey;
  int kv_heads = 0;
  int num_items = 0;
  const DenseItem* items = nullptr;         // [num_items], device
  const kv::StaticRange* ranges = nullptr;  // device
  std::byte* to = nullptr;                  // tiles of KV head 0
  size_t to_stride = 0;                     // bytes from head to head
};

// head_dim: 64 or 128.
void LaunchMakeDense(int head_dim, const DenseBatch& batch, LaunchQueue& queue);

}  // namespace kvpareto::cuda
