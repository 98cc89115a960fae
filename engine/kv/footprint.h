// What a sequence keeps in memory as it grows: the one rule that the scheduler follows when it
// allocates, and that the planner simulates to predict a request's peak. Pure arithmetic.
//
// A sequence's tokens are [sink | blocks of kBlockTokens]. The sink is one bf16 extent, allocated
// with the first token. Of the blocks, the oldest are sealed (encoded), the newest are bf16: the
// open block and every block that still holds one of the `recent_tokens` newest tokens. A step that
// adds tokens allocates what it will newly need, runs, and frees the bf16 extents of the blocks it
// sealed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kv/tile.h"

namespace kvpareto::kv {

// Byte sizes of a sequence's extents under one KV config, and the windows.
struct FootprintParams {
  size_t sealed_block_bytes = 0;
  size_t bf16_block_bytes = 0;
  size_t sink_bytes = 0;  // 0 when sink_tokens == 0
  int sink_tokens = 0;
  int recent_tokens = 0;
  // False for configs that are bf16 throughout: their blocks stay as they were written, and the
  // recent window means nothing.
  bool seals = true;
};

// How many extents of each kind hold a sequence of a given length after its step has completed.
struct Residency {
  int sink_extents = 0;   // 0 or 1
  int sealed_blocks = 0;  // blocks [0, sealed_blocks)
  int bf16_blocks = 0;    // blocks [sealed_blocks, sealed_blocks + bf16_blocks)
  friend bool operator==(const Residency&, const Residency&) = default;
};

// The state that holds `tokens` tokens.
Residency ResidencyAt(const FootprintParams& params, int64_t tokens);

size_t ResidencyBytes(const FootprintParams& params, const Residency& residency);

// Bytes allocated while a step takes the sequence from `before` to `after` tokens: everything of
// `before` and the new extents of `after` at once. Blocks that are both filled and sealed inside
// the step never own a bf16 extent (the workspace's chunk buffer holds them).
size_t StepPeakBytes(const FootprintParams& params, int64_t before, int64_t after);

// The exact peak over a whole request: prefill of `prompt_tokens` in steps of `chunk_tokens` (the
// last one takes what is left), then one token a step until `total_tokens` are stored (at least
// `prompt_tokens`). O(steps of prefill + blocks of decode).
size_t PredictPeakBytes(const FootprintParams& params, int64_t prompt_tokens, int64_t total_tokens,
                        int chunk_tokens);

// The same from a state of `tokens` tokens on, which counts.
size_t PredictPeakBytesFrom(const FootprintParams& params, int64_t tokens, int64_t prompt_tokens,
                            int64_t total_tokens, int chunk_tokens);

// Blocks of a sequence of `tokens` tokens that no later step changes: the sealed ones, or the full
// ones where nothing is ever sealed.
int FinalBlocks(const FootprintParams& params, int64_t tokens);

// Bytes of what no later step changes: the sink, once it is full, and the final blocks. Sequences
// that begin with the same tokens may share them.
size_t FinalBytes(const FootprintParams& params, int64_t tokens);

// What a sequence that begins with a shared prefix of `tokens` tokens needs besides what it shares.
size_t OwnPeakBytesFrom(const FootprintParams& params, int64_t tokens, int64_t prompt_tokens,
                        int64_t total_tokens, int chunk_tokens);

}  // namespace kvpareto::kv
