// The cache of one sequence: which extents hold its tokens, and how a step changes that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/model/step_batch.h"
#include "engine/scheduler/cache_format.h"

namespace kvpareto {

// Follows kv/footprint.h to the letter: Allocate takes what StepPeakBytes predicts, EndStep frees
// what ResidencyAt no longer holds. Not thread-safe: owned by the engine thread.
//
// A step: Allocate for every sequence of the step first (the arena may move extents while it
// allocates), then Describe for each, then the forward pass, then EndStep for each.
class SequenceCache {
 public:
  // `arena` outlives the cache; the caller has reserved what the sequence's plan predicts.
  SequenceCache(std::shared_ptr<const CacheFormat> format, kv::Arena* arena);
  ~SequenceCache();
  SequenceCache(const SequenceCache&) = delete;
  SequenceCache& operator=(const SequenceCache&) = delete;

  int64_t num_tokens() const { return num_tokens_; }

  // Extents for the next `new_tokens` tokens.
  void Allocate(int new_tokens);

  // Where the step's tokens go, what they read, and what is sealed. `next_chunk_tile` hands out
  // tiles of the chunk buffer for blocks that are filled and sealed inside the step.
  SequenceStep Describe(int first_row, const std::function<BlockSpan()>& next_chunk_tile) const;

  // The step has run: its tokens are stored, sealed blocks replace their bf16 extents.
  void EndStep();

  // All stored tokens, in position order (between steps).
  std::vector<BlockSpan> Spans() const;

  size_t allocated_bytes() const { return allocated_bytes_; }
  size_t peak_bytes() const { return peak_bytes_; }
  size_t live_bytes() const;
  size_t bf16_bytes() const;  // of the same tokens, had they been kept in bf16

 private:
  kv::ExtentId Take(size_t bytes);
  void Release(kv::ExtentId extent);
  BlockSpan Span(kv::ExtentId extent, const kv::BlockLayout& layout, int64_t first_position,
                 int64_t end_position) const;
  int64_t BlockBegin(int block) const;

  std::shared_ptr<const CacheFormat> format_;
  kv::Arena* arena_;
  int64_t num_tokens_ = 0;
  int step_tokens_ = 0;  // of the step between Allocate and EndStep
  kv::Residency before_, after_;

  std::vector<kv::ExtentId> sink_;    // none or one
  std::vector<kv::ExtentId> sealed_;  // blocks [0, sealed_.size()), those of the step included
  // Blocks [before_.sealed_blocks, + before_.bf16_blocks), then those the step adds.
  std::deque<kv::ExtentId> bf16_;

  size_t allocated_bytes_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace kvpareto
