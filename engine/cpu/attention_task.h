// The unit of work of CPU attention, and the table of functions that an instruction set offers for
// it. Plain data only: the per-ISA files share no code with the rest of the program.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/cpu/angle_view.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/softmax_state.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/codec.h"

namespace kvpareto::cpu {

inline constexpr int kMaxHeadDim = 256;

// At most kBlockTokens token slots of one extent, of all KV heads: a whole tile, or a window of a
// sink extent's taller tile. Slots outside [begin, end) hold nothing readable: in open tiles
// (bf16, f32) they may be NaN and must not reach a sum, not even times zero.
struct TilePiece {
  const std::byte* data = nullptr;          // extent base
  const kv::LayerLayout* layout = nullptr;  // of this layer
  int window = 0;        // first slot of the window inside the tile; 0 but in sink extents
  int window_slots = 0;  // slots of the window, a multiple of 16 up to kBlockTokens
  int begin = 0;         // valid slots [begin, end), counted from the window's start
  int end = 0;
  int position = 0;  // sequence position of the window's first slot

  const std::byte* k_tile(int kv_head) const {
    return data + layout->k_offset + kv_head * layout->k_tile_bytes;
  }
  const std::byte* v_tile(int kv_head) const {
    return data + layout->v_offset + kv_head * layout->v_tile_bytes;
  }
};

// Query rows [0, rows) of one sequence, at consecutive positions, for the `group` query heads that
// share one KV head, against the pieces in position order.
struct AttentionTask {
  const float* q = nullptr;  // row i, head g: q + i * q_stride + g * head_dim
  int q_stride = 0;
  int rows = 0;
  int group = 0;
  int head_dim = 0;
  int first_position = 0;  // of row 0
  int sliding_window = 0;  // 0: none
  float scale = 1.0f;
  const TilePiece* pieces = nullptr;
  int num_pieces = 0;
  int kv_head = 0;
  kv::StaticRange k_range;
  kv::StaticRange v_range;
  // With a key bias (ops/backend.h): row i, head g: bias_q + i * bias_q_stride + g * head_dim. Null
  // without.
  const float* bias_q = nullptr;
  int bias_q_stride = 0;
  AngleView angles;  // covers every slot of the pieces
  // Results: the output rows when `states` is null, else one state per head (rows == 1).
  float* out = nullptr;  // row i, head g: out + i * out_stride + g * head_dim
  int out_stride = 0;
  SoftmaxState* states = nullptr;  // [group]
  // What this thread probably does next, to prefetch for; or null.
  const AttentionTask* next = nullptr;
};

// What one instruction set offers.
struct AttentionKernels {
  // A prefill task covers at most this many query rows (times group).
  int (*prefill_rows)(int group, int head_dim);
  void (*prefill)(const AttentionTask& task, std::byte* scratch);
  void (*decode)(const AttentionTask& task, std::byte* scratch);
  // Scratch of one thread for either function, aligned to 64 bytes by the caller. `key_bias`: some
  // task has one.
  size_t (*scratch_bytes)(int group, int head_dim, bool key_bias);
};

extern const AttentionKernels kScalarAttention;

// The best kernels of `isa` for this head size.
const AttentionKernels& AttentionKernelsFor(Isa isa, int head_dim);

}  // namespace kvpareto::cpu
