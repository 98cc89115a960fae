// The cache of one sequence: which extents hold its tokens, and how a step changes that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/model/step_batch.h"
#include "engine/scheduler/cache_format.h"
#include "engine/scheduler/prefix_cache.h"

namespace kvpareto {

// Follows kv/footprint.h to the letter: Allocate takes what StepPeakBytes predicts, EndStep frees
// what ResidencyAt no longer holds. Not thread-safe: owned by the engine thread.
//
// A step: Allocate for every sequence of the step first (the arena may move extents while it
// allocates), then Describe for each, then the forward pass, then EndStep for each.
//
// The sink and the first blocks may be shared: the prefix cache owns them then, and this reads
// them.
class SequenceCache {
 public:
  // `arena` outlives the cache; the caller has reserved what the sequence's plan predicts. So does
  // `prefixes`, which may be null: nothing is shared.
  SequenceCache(std::shared_ptr<const CacheFormat> format, kv::Arena* arena,
                PrefixCache* prefixes = nullptr);
  ~SequenceCache();
  SequenceCache(const SequenceCache&) = delete;
  SequenceCache& operator=(const SequenceCache&) = delete;

  int64_t num_tokens() const { return num_tokens_; }
  const CacheFormat& format() const { return *format_; }

  // Extents for the next `new_tokens` tokens.
  void Allocate(int new_tokens);

  // Where the step's tokens go, what they read, and what is sealed. `next_chunk_tile` hands out
  // tiles of the chunk buffer for blocks that are filled and sealed inside the step.
  SequenceStep Describe(int first_row, const std::function<BlockSpan()>& next_chunk_tile) const;

  // The step has run: its tokens are stored, sealed blocks replace their bf16 extents.
  void EndStep();

  // All stored tokens, in position order (between steps).
  std::vector<BlockSpan> Spans() const;

  // Between steps, of sequences that share:
  //
  // Hands over what became final since the last call, and lends the rest. `chunk` is the tokens
  // stored since then.
  PrefixCache::State Share(std::span<const int32_t> chunk);
  // Replaces what became final since then by the same blocks of `node`, which stands there.
  void Adopt(const PrefixNode& node);
  // Lends the blocks that are not final.
  std::vector<std::shared_ptr<TailExtent>> LendTail();
  // Continues the prefix `node`: its shared blocks, and copies of `tail` [blocks that are not
  // final]. What was there belongs to a shorter prefix and goes.
  void TakeOver(const PrefixNode& node, std::span<const kv::ExtentId> tail);
  std::vector<kv::ExtentId> TailExtents() const;

  // Between steps, to go on in a smaller format:
  //
  // Whether it may: one that reads and transforms the same, with smaller final blocks.
  bool CanSwitch(const CacheFormat& to) const;
  // New blocks are sealed by `to` from now on; those that are final already are to be re-encoded.
  void Switch(std::shared_ptr<const CacheFormat> to);
  // Final blocks from `first_block` on that are not those of `to`, oldest first: for each, the
  // bytes that re-encoding frees. And of the own blocks in the format that it has.
  std::vector<size_t> Excess(const CacheFormat& to, int first_block) const;
  std::vector<size_t> Excess() const { return Excess(*format_, shared_blocks_); }
  // The next blocks to re-encode, at most `max_blocks`; EndChanges follows when that has
  // been done, and returns the bytes that were re-encoded.
  std::vector<RequantizeItem> NextChanges(int max_blocks);
  size_t EndChanges(size_t blocks);
  // What the sequence owns again of a prefix that has been withdrawn.
  void TakeBack(const PrefixNode& node);
  // Bytes of a state in `format` that are shared.
  int shared_blocks() const { return shared_blocks_; }
  bool sink_shared() const { return sink_shared_; }

  size_t allocated_bytes() const { return own_bytes_ + shared_bytes_; }
  size_t own_bytes() const { return own_bytes_; }  // without what the prefix cache owns
  size_t shared_bytes() const { return shared_bytes_; }
  size_t peak_bytes() const { return peak_bytes_; }
  size_t own_live_bytes() const;  // of own_bytes(), what holds tokens
  size_t live_bytes() const { return own_live_bytes() + shared_bytes_; }
  size_t bf16_bytes() const;  // of the same tokens, had they been kept in bf16

 private:
  // A block with a place in the arena; without layout: passing through the chunk buffer.
  struct Block {
    kv::ExtentId extent{};
    const kv::BlockLayout* layout = nullptr;
    std::shared_ptr<TailExtent> lent;  // to prefixes that end in it
  };

  kv::ExtentId Take(size_t bytes);
  void Release(kv::ExtentId extent);
  void Release(const Block& block);
  int FinalBlocks() const { return kv::FinalBlocks(format_->footprint, num_tokens_); }
  bool SinkIsFull() const { return sink_ && num_tokens_ >= format_->config.sink_tokens; }
  const kv::BlockLayout& final_layout() const {
    return format_->footprint.seals ? format_->sealed : format_->bf16;
  }
  BlockSpan Span(kv::ExtentId extent, const kv::BlockLayout& layout, int64_t first_position,
                 int64_t end_position) const;
  int64_t BlockBegin(int block) const;

  std::shared_ptr<const CacheFormat> format_;
  std::vector<std::shared_ptr<const CacheFormat>> old_formats_;  // that blocks_ still refer to
  kv::Arena* const arena_;
  PrefixCache* const prefixes_;
  int64_t num_tokens_ = 0;
  int step_tokens_ = 0;  // of the step between Allocate and EndStep
  kv::Residency before_, after_;

  std::optional<kv::ExtentId> sink_;
  bool sink_shared_ = false;
  std::vector<Block> blocks_;  // in position order, those the step adds included
  int shared_blocks_ = 0;      // the first of blocks_
  std::vector<kv::ExtentId>
      sealing_;  // where the step's seals go, from block before_.sealed_blocks

  size_t own_bytes_ = 0;
  size_t shared_bytes_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace kvpareto
