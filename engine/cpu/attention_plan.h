// How an attention step is cut into tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/cpu/attention_task.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Decode rows are split over the sequence at multiples of this many positions: of twice as many if
// that still makes kManySplits tasks, because each costs a microsecond by itself. The order of a
// sequence's sums, hence its result, depends on nothing but its own tokens.
inline constexpr int kSplitTokens = 512;
inline constexpr int kManySplits = 16;

struct PlannedTask {
  AttentionTask task;
  int64_t cost = 0;      // query rows x keys, for the order
  int decode_row = -1;   // index into decode_rows, or -1: a prefill task
  int first_state = -1;  // decode: states [first_state, first_state + group)
};

struct DecodeRow {
  int row = 0;          // of q and out
  int splits = 0;       // at least 1
  int first_state = 0;  // states [kv_heads, splits, group] from here
};

struct AttentionPlan {
  std::vector<TilePiece> pieces;  // of all sequences, in order
  std::vector<PlannedTask> tasks;
  std::vector<int> order;  // of tasks: the most expensive first
  std::vector<DecodeRow> decode_rows;
  int num_states = 0;

  // Reuses the vectors' memory. `block_rows`: query rows per prefill task; `angles`: for sequences
  // with a key bias.
  void Build(const AttentionArgs& args, int block_rows, const AngleView& angles);
  size_t bytes() const;

 private:
  void AddPieces(const KvSpan& span);
  void AddDecode(const AttentionArgs& args, const AttentionSequence& sequence,
                 std::span<const TilePiece> readable);
  void AddPrefill(const AttentionArgs& args, const AttentionSequence& sequence,
                  std::span<const TilePiece> readable, int block_rows);

  AngleView angles_;
  std::vector<std::span<const TilePiece>> splits_;  // of the row that is added
};

}  // namespace kvpareto::cpu
