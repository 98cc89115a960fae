// Whole open tiles into encoded ones; unseal.h has the way back.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/kv/codec.h"

namespace kvpareto::cuda {

// Tiles of one codec and role, one per item and KV head; tiles of neighbouring heads are `stride`
// bytes apart.
struct TileItem {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  uint32_t from_stride = 0;
  uint32_t to_stride = 0;
  int32_t first_range = -1;  // of the KV heads' static ranges; -1: defaults
};

struct TileBatch {
  kv::CodecId codec = kv::CodecId::kBf16;       // of the encoded side
  kv::CodecId open_codec = kv::CodecId::kBf16;  // of the other: bf16 or f32
  kv::Role role = kv::Role::kKey;
  int kv_heads = 0;
  int head_dim = 0;
  int num_items = 0;
  const TileItem* items = nullptr;          // [num_items], device
  const kv::StaticRange* ranges = nullptr;  // device
};

// Whether LaunchSeal knows the codec; the others are encoded by the host.
bool CanSeal(kv::CodecId codec);
void LaunchSeal(const TileBatch& batch, LaunchQueue& queue);

}  // namespace kvpareto::cuda
