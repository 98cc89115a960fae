// Accuracy of KV configs against the bf16 cache, by teacher forcing through the engine.
#pragma once

#include <cstdint>
#include <vector>

#include "autotuner/config_list.h"
#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct AccuracyOptions {
  std::vector<int64_t> contexts;  // upper ends of the buckets, ascending
  // 0: every counted position is computed in prefill chunks, as prompts are. Positive: each context
  // is a run of its own whose last `decode_tokens` positions are computed token by token, as
  // generated text is, and only these are counted.
  int decode_tokens = 0;
  // The reference's distributions of one pass are kept in memory; positions are counted every so
  // many that they fit in this.
  uint64_t reference_bytes = uint64_t{1} << 30;
};

// The rule of what counts. A position is counted when, under every config of the list, its step
// begins at or after sink + recent + 64 tokens: from there on a query reads at least one sealed
// block. So all configs are compared at the same positions, none of which has an exact cache, and
// a bucket holds the counted positions of contexts above the bucket before it.
int64_t FirstCountedPosition(const std::vector<NamedConfig>& configs, int decode_tokens);

// Tokens that go through the model: the unit of `progress`.
int64_t AccuracyWork(const std::vector<NamedConfig>& configs, int windows,
                     const AccuracyOptions& options);

// For every config, its buckets. There is at least one context, and each window holds at least the
// largest context's tokens. The
// reference is bf16 with the same chunk, so nothing but the cache's precision differs. A bucket in
// which nothing counts is left out. Errors: of Engine::Score; INVALID_ARGUMENT (NOTHING_COUNTED)
// when not even the largest context has a counted position.
absl::StatusOr<std::vector<std::vector<AccuracyBucket>>> MeasureAccuracy(
    Engine& engine, const std::vector<std::vector<int32_t>>& windows,
    const std::vector<NamedConfig>& configs, const AccuracyOptions& options, Progress& progress);

}  // namespace kvpareto::tune
