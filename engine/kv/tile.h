// The tile: kBlockTokens tokens x head_dim channels of K, or of V, of one KV head of one layer.
// Everything in kv/ is plain C++ without CUDA or Abseil, so that it compiles in host and device
// code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::kv {

inline constexpr int kBlockTokens = 64;

// Regions inside blocks start at multiples of this (cache line pairs; a GPU memory transaction).
inline constexpr size_t kRegionAlignment = 128;

constexpr size_t AlignUp(size_t bytes, size_t alignment = kRegionAlignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

enum class Role : uint8_t { kKey, kValue };

// Where element (token, channel) stands in a tile's element order. A tile is stored as the B
// operand of the matrix product that reads it: S = Q K^T reduces over channels, O = P V over
// tokens. Pairs along the reduced index are adjacent, as bf16 products want them (AMX,
// AVX512-BF16, mma.sync B fragments):
//   keys:   [head_dim / 2][tokens][2 channels]
//   values: [tokens / 2][head_dim][2 tokens]
// `tile_tokens` is kBlockTokens but for sink extents; it and head_dim are even.
constexpr int ElementIndex(Role role, int token, int channel, int tile_tokens, int head_dim) {
  return role == Role::kKey ? ((channel / 2) * tile_tokens + token) * 2 + channel % 2
                            : ((token / 2) * head_dim + channel) * 2 + token % 2;
}

}  // namespace kvpareto::kv
