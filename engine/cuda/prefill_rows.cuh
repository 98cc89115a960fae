// Which queries a block of a prefill kernel computes: all of a KV head, positions x the heads of
// the group, positions slowest.
#pragma once

#include "engine/cuda/prefill_rows.h"

namespace kvpareto::cuda {

// Scores are in units of log2(e), so that weights are powers of two.
inline constexpr float kLog2E = 1.44269504088896340736f;

struct QueryRow {
  int row = 0;  // of q and out, -1: none
  int head = 0;
  int position = 0;
};
__device__ __forceinline__ QueryRow RowAt(const PrefillRows& p, int kv_head, int index) {
  const int group = p.heads / p.kv_heads;
  const int i = index / group;
  if (i >= p.num_rows) return {-1, 0, p.first_position + p.num_rows - 1};
  return {p.first_row + i, kv_head * group + index % group, p.first_position + i};
}

// The positions of `count` queries from `first` on, and the oldest one that any of them reads.
struct QueryRange {
  int first_position = 0;
  int last_position = 0;
  int oldest_key = 0;
};
__device__ __forceinline__ QueryRange RangeOf(const PrefillRows& p, int first, int count) {
  const int group = p.heads / p.kv_heads;
  const int begin = p.first_position + first / group;
  return {begin, p.first_position + min(p.num_rows - 1, (first + count - 1) / group),
          p.sliding_window > 0 ? max(0, begin - p.sliding_window + 1) : 0};
}

}  // namespace kvpareto::cuda
