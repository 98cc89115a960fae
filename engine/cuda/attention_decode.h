// Attention of decode rows on tensor cores, straight from encoded tiles: flash-decoding over parts
// of a sequence, all query heads of a KV head together.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/kv/codec.h"

namespace kvpareto::cuda {

inline constexpr int kDecodeRows = 8;            // query heads per block
inline constexpr int kMaxDecodeSequences = 256;  // per launch
inline constexpr int kMaxParts = 160;            // items per sequence

// Where tiles stand inside an extent, for the layer at hand.
struct TilePlaces {
  uint32_t k_offset = 0;
  uint32_t v_offset = 0;
  uint32_t k_stride = 0;  // from head to head
  uint32_t v_stride = 0;
};

// Slots [begin, end) of a window of up to 64 token slots in an open bf16 tile.
struct OpenWindow {
  const std::byte* data = nullptr;  // extent
  int32_t places = 0;               // index into DecodeSequence::open
  int32_t tile_tokens = 0;
  int32_t first_slot = 0;  // of the window
  int32_t begin = 0;       // counted from first_slot
  int32_t end = 0;
  int32_t position = 0;  // of first_slot
};

// A part of a sequence: sealed tiles or open windows [first, first + count). Items of no tiles fill
// up the grid, whose size shall not change with every block of a sequence.
struct DecodeItem {
  int32_t sequence = 0;
  int32_t part = 0;  // parts are merged in this order
  int32_t first = 0;
  int32_t count = 0;
  int32_t open = 0;
};

struct DecodeSequence {
  int32_t row = 0;              // of q and out
  int32_t oldest_position = 0;  // older keys are out of the sliding window
  int32_t first_sealed_position = 0;
  int32_t first_tile = 0;  // in `tiles`, of the sequence
  int32_t first_item = 0;  // of its items in `partial`
  int32_t num_items = 0;
  TilePlaces sealed;
  TilePlaces open[3];  // blocks; sink; sealed tiles that were decoded first
  // Of sealed tiles' static ranges; -1: defaults.
  int32_t first_k_range = -1;
  int32_t first_v_range = -1;
};

struct DecodeAttentionParams {
  const DecodeSequence* sequences = nullptr;  // device
  const std::byte* const* tiles = nullptr;    // sealed extents, device
  const OpenWindow* windows = nullptr;
  const DecodeItem* items = nullptr;
  int num_items = 0;
  const float* q = nullptr;
  float* out = nullptr;
  int q_stride = 0;
  int out_stride = 0;
  int heads = 0;
  int kv_heads = 0;
  float scale = 0.0f;
  float* partial = nullptr;     // DecodePartialFloats
  int32_t* counters = nullptr;  // [sequences, kv_heads * row blocks], zero; left zero
};

size_t DecodePartialFloats(int items, int heads, int kv_heads, int head_dim);
int DecodeRowBlocks(int heads, int kv_heads);

// Blocks of a pair's kernel that a multiprocessor runs at once.
int DecodeBlocksAtOnce(kv::CodecId k, kv::CodecId v, int head_dim);

// The pairs that have a kernel. Both bf16: sequences without sealed tiles.
bool HasDecodeKernel(kv::CodecId k, kv::CodecId v, int head_dim);
void LaunchDecodeAttention(kv::CodecId k, kv::CodecId v, int head_dim,
                           const DecodeAttentionParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
