// One tile's part of StoreKv and of Seal, as plain data for the per-ISA files.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kv/codec.h"

namespace kvpareto::cpu {

// Rows of one KV head into consecutive slots of its open tile.
struct StoreTask {
  kv::Role role = kv::Role::kKey;
  const float* source = nullptr;  // [tokens, head_dim] with source_stride
  int source_stride = 0;
  std::byte* tile = nullptr;  // bf16 or f32, element order
  int tile_tokens = 0;
  int first_slot = 0;
  int tokens = 0;
  int head_dim = 0;
};

// A full open tile into an encoded one.
struct SealTask {
  kv::Role role = kv::Role::kKey;
  kv::CodecId codec = kv::CodecId::kBf16;
  kv::StaticRange range;
  int head_dim = 0;
  kv::CodecId source_codec = kv::CodecId::kBf16;
  const std::byte* source = nullptr;  // [kBlockTokens * head_dim] in element order
  std::byte* encoded = nullptr;       // TileBytes(codec, role, head_dim)
};

// head_dim is a multiple of 16. Into a bf16 tile.
void StoreTileAvx2(const StoreTask& task);
void StoreTileAvx512(const StoreTask& task);
// False, and nothing done, for codecs that it has no version of.
bool SealTileAvx2(const SealTask& task);
bool SealTileAvx512(const SealTask& task);

}  // namespace kvpareto::cpu
