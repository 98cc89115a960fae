// Encoded tiles into open ones.
#pragma once

#include "engine/cuda/attention_decode.h"
#include "engine/cuda/seal.h"

namespace kvpareto::cuda {

// Every codec. `to` are open tiles of kBlockTokens tokens.
void LaunchUnseal(const TileBatch& batch, LaunchQueue& queue);

// The sealed tiles of decode rows as bf16, for the kernel that reads open tiles only. Tile i
// becomes the keys of all KV heads, then their values, at to + i * DecodedTileBytes.
struct UnsealDecodeParams {
  kv::CodecId codec = kv::CodecId::kBf16;  // of the keys or of the values
  kv::Role role = kv::Role::kKey;
  int kv_heads = 0;
  int head_dim = 0;  // 64 or 128
  int num_tiles = 0;
  int grid_tiles = 0;                         // at least num_tiles
  const std::byte* const* tiles = nullptr;    // extents, device
  const int32_t* tile_sequence = nullptr;     // [num_tiles], device
  const DecodeSequence* sequences = nullptr;  // device
  const kv::StaticRange* ranges = nullptr;    // device
  std::byte* to = nullptr;
};
constexpr size_t DecodedTileBytes(int kv_heads, int head_dim) {
  return 2 * sizeof(uint16_t) * size_t(kv_heads) * kv::kBlockTokens * head_dim;
}
void LaunchUnsealDecode(const UnsealDecodeParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
