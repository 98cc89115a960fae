#include "engine/scheduler/sequence_cache.h"

#include <algorithm>

#include "engine/base/check.h"

namespace kvpareto {

using kv::kBlockTokens;

SequenceCache::SequenceCache(std::shared_ptr<const CacheFormat> format, kv::Arena* arena)
    : format_(std::move(format)), arena_(arena) {}

SequenceCache::~SequenceCache() {
  for (kv::ExtentId extent : sink_) Release(extent);
  for (kv::ExtentId extent : sealed_) Release(extent);
  for (kv::ExtentId extent : bf16_) Release(extent);
}

kv::ExtentId SequenceCache::Take(size_t bytes) {
  allocated_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, allocated_bytes_);
  return arena_->Allocate(bytes);
}

void SequenceCache::Release(kv::ExtentId extent) {
  allocated_bytes_ -= arena_->Bytes(extent);
  arena_->Free(extent);
}

int64_t SequenceCache::BlockBegin(int block) const {
  return format_->config.sink_tokens + int64_t{block} * kBlockTokens;
}

void SequenceCache::Allocate(int new_tokens) {
  KVP_CHECK(step_tokens_ == 0 && new_tokens > 0) << "the previous step has not ended";
  step_tokens_ = new_tokens;
  before_ = kv::ResidencyAt(format_->footprint, num_tokens_);
  after_ = kv::ResidencyAt(format_->footprint, num_tokens_ + new_tokens);

  if (before_.sink_extents < after_.sink_extents) sink_.push_back(Take(format_->sink.bytes()));
  while (static_cast<int>(sealed_.size()) < after_.sealed_blocks) {
    sealed_.push_back(Take(format_->sealed.bytes()));
  }
  // Blocks that stay bf16 after the step and have no extent yet.
  const int first_new = std::max(before_.sealed_blocks + before_.bf16_blocks, after_.sealed_blocks);
  for (int block = first_new; block < after_.sealed_blocks + after_.bf16_blocks; ++block) {
    bf16_.push_back(Take(format_->bf16.bytes()));
  }
}

BlockSpan SequenceCache::Span(kv::ExtentId extent, const kv::BlockLayout& layout,
                              int64_t first_position, int64_t end_position) const {
  return {.data = arena_->Address(extent),
          .layout = &layout,
          .first_slot = 0,
          .num_tokens = static_cast<int>(end_position - first_position),
          .first_position = static_cast<int>(first_position)};
}

SequenceStep SequenceCache::Describe(int first_row,
                                     const std::function<BlockSpan()>& next_chunk_tile) const {
  const int64_t begin = num_tokens_;
  const int64_t end = num_tokens_ + step_tokens_;
  const int held_blocks = before_.sealed_blocks + before_.bf16_blocks;  // those with a place before
  const int all_blocks = after_.sealed_blocks + after_.bf16_blocks;
  SequenceStep step{.first_row = first_row,
                    .num_rows = step_tokens_,
                    .first_position = static_cast<int>(begin),
                    .transforms = format_->transforms.get()};

  // A span is read whole, and written where it overlaps the step's tokens.
  const auto add = [&](const BlockSpan& span) {
    step.reads.push_back(span);
    const int64_t from = std::max<int64_t>(begin, span.first_position);
    const int64_t to = std::min<int64_t>(end, span.first_position + span.num_tokens);
    if (from >= to) return;
    BlockSpan written = span;
    written.first_slot += static_cast<int>(from - span.first_position);
    written.first_position = static_cast<int>(from);
    written.num_tokens = static_cast<int>(to - from);
    step.stores.push_back(
        {.destination = written, .first_row = first_row + static_cast<int>(from - begin)});
  };

  if (!sink_.empty()) {
    add(Span(sink_[0], format_->sink, 0, std::min<int64_t>(end, format_->config.sink_tokens)));
  }
  for (int block = 0; block < all_blocks; ++block) {
    const int64_t first = BlockBegin(block);
    const int64_t last = std::min(first + kBlockTokens, end);
    if (block < before_.sealed_blocks) {
      add(Span(sealed_[block], format_->sealed, first, last));
      continue;
    }
    BlockSpan span;
    if (block < held_blocks) {
      span = Span(bf16_[block - before_.sealed_blocks], format_->bf16, first, last);
    } else if (block < after_.sealed_blocks) {
      span = next_chunk_tile();
      span.first_position = static_cast<int>(first);
      span.num_tokens = static_cast<int>(last - first);
    } else {
      const int first_new = std::max(held_blocks, after_.sealed_blocks);
      span = Span(bf16_[before_.bf16_blocks + (block - first_new)], format_->bf16, first, last);
    }
    add(span);
    if (block < after_.sealed_blocks) {
      step.seals.push_back(
          {.source = span, .destination = Span(sealed_[block], format_->sealed, first, last)});
    }
  }
  return step;
}

std::vector<BlockSpan> SequenceCache::Spans() const {
  std::vector<BlockSpan> spans;
  if (!sink_.empty()) {
    spans.push_back(Span(sink_[0], format_->sink, 0,
                         std::min<int64_t>(num_tokens_, format_->config.sink_tokens)));
  }
  const int sealed = static_cast<int>(sealed_.size());
  for (int block = 0; block < sealed + static_cast<int>(bf16_.size()); ++block) {
    const int64_t first = BlockBegin(block);
    const int64_t last = std::min(first + kBlockTokens, num_tokens_);
    spans.push_back(block < sealed ? Span(sealed_[block], format_->sealed, first, last)
                                   : Span(bf16_[block - sealed], format_->bf16, first, last));
  }
  return spans;
}

void SequenceCache::EndStep() {
  const int sealed_of_held =
      std::min(after_.sealed_blocks - before_.sealed_blocks, before_.bf16_blocks);
  for (int i = 0; i < sealed_of_held; ++i) {
    Release(bf16_.front());
    bf16_.pop_front();
  }
  num_tokens_ += step_tokens_;
  step_tokens_ = 0;
  KVP_CHECK(static_cast<int>(bf16_.size()) == after_.bf16_blocks)
      << bf16_.size() << " bf16 extents, " << after_.bf16_blocks << " expected";
}

size_t SequenceCache::live_bytes() const {
  const int64_t sink_tokens = std::min<int64_t>(num_tokens_, format_->config.sink_tokens);
  const int64_t sealed_tokens = after_.sealed_blocks * int64_t{kBlockTokens};
  const int64_t bf16_tokens = num_tokens_ - sink_tokens - sealed_tokens;
  const size_t bf16_token_bytes = format_->bf16.bytes() / kBlockTokens;
  return (sink_tokens + bf16_tokens) * bf16_token_bytes +
         after_.sealed_blocks * format_->sealed.bytes();
}

size_t SequenceCache::bf16_bytes() const {
  return num_tokens_ * (format_->bf16.bytes() / kBlockTokens);
}

}  // namespace kvpareto
