#include "engine/scheduler/sequence_cache.h"

#include <algorithm>

#include "engine/base/check.h"

namespace kvpareto {

using kv::kBlockTokens;

SequenceCache::SequenceCache(std::shared_ptr<const CacheFormat> format, kv::Arena* arena,
                             PrefixCache* prefixes)
    : format_(std::move(format)), arena_(arena), prefixes_(prefixes) {}

SequenceCache::~SequenceCache() {
  if (sink_ && !sink_shared_) Release(*sink_);
  for (size_t i = shared_blocks_; i < blocks_.size(); ++i) Release(blocks_[i]);
  for (kv::ExtentId extent : sealing_) Release(extent);
}

kv::ExtentId SequenceCache::Take(size_t bytes) {
  own_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, allocated_bytes());
  return arena_->Allocate(bytes);
}

void SequenceCache::Release(kv::ExtentId extent) {
  own_bytes_ -= arena_->Bytes(extent);
  arena_->Free(extent);
}

void SequenceCache::Release(const Block& block) {
  if (block.layout == nullptr) return;
  if (block.lent == nullptr) return Release(block.extent);
  own_bytes_ -= block.lent->bytes;
  prefixes_->ReleaseTail(block.lent.get());
}

int64_t SequenceCache::BlockBegin(int block) const {
  return format_->config.sink_tokens + int64_t{block} * kBlockTokens;
}

void SequenceCache::Allocate(int new_tokens) {
  KVP_CHECK(step_tokens_ == 0 && new_tokens > 0) << "the previous step has not ended";
  step_tokens_ = new_tokens;
  before_ = kv::ResidencyAt(format_->footprint, num_tokens_);
  after_ = kv::ResidencyAt(format_->footprint, num_tokens_ + new_tokens);

  if (before_.sink_extents < after_.sink_extents) sink_ = Take(format_->sink.bytes());
  for (int block = before_.sealed_blocks; block < after_.sealed_blocks; ++block) {
    sealing_.push_back(Take(format_->sealed.bytes()));
  }
  for (int block = blocks_.size(); block < after_.sealed_blocks + after_.bf16_blocks; ++block) {
    const bool passes_through = block < after_.sealed_blocks;
    blocks_.push_back(passes_through ? Block{}
                                     : Block{.extent = Take(format_->bf16.bytes()),
                                             .layout = &format_->bf16,
                                             .lent = nullptr});
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

  if (sink_) {
    add(Span(*sink_, format_->sink, 0, std::min<int64_t>(end, format_->config.sink_tokens)));
  }
  for (int i = 0; i < static_cast<int>(blocks_.size()); ++i) {
    const int64_t first = BlockBegin(i);
    const int64_t last = std::min(first + kBlockTokens, end);
    BlockSpan span;
    if (blocks_[i].layout != nullptr) {
      span = Span(blocks_[i].extent, *blocks_[i].layout, first, last);
    } else {
      span = next_chunk_tile();
      span.first_position = static_cast<int>(first);
      span.num_tokens = static_cast<int>(last - first);
    }
    add(span);
    if (before_.sealed_blocks <= i && i < after_.sealed_blocks) {
      const kv::ExtentId sealed = sealing_[i - before_.sealed_blocks];
      step.seals.push_back(
          {.source = span, .destination = Span(sealed, format_->sealed, first, last)});
    }
  }
  return step;
}

std::vector<BlockSpan> SequenceCache::Spans() const {
  std::vector<BlockSpan> spans;
  if (sink_) {
    spans.push_back(Span(*sink_, format_->sink, 0,
                         std::min<int64_t>(num_tokens_, format_->config.sink_tokens)));
  }
  for (int i = 0; i < static_cast<int>(blocks_.size()); ++i) {
    const int64_t first = BlockBegin(i);
    const int64_t last = std::min(first + kBlockTokens, num_tokens_);
    spans.push_back(Span(blocks_[i].extent, *blocks_[i].layout, first, last));
  }
  return spans;
}

void SequenceCache::EndStep() {
  for (size_t i = 0; i < sealing_.size(); ++i) {
    Block& block = blocks_[before_.sealed_blocks + i];
    Release(block);
    block = {.extent = sealing_[i], .layout = &format_->sealed, .lent = nullptr};
  }
  sealing_.clear();
  num_tokens_ += step_tokens_;
  step_tokens_ = 0;
}

// All but the unfilled parts: of the sink, of the last blocks, of what a step under way is to seal.
size_t SequenceCache::own_live_bytes() const {
  const size_t token_bytes = format_->bf16.bytes() / kBlockTokens;
  size_t bytes = own_bytes_;
  if (sink_ && !sink_shared_) {
    const int64_t tokens = std::min<int64_t>(num_tokens_, format_->config.sink_tokens);
    bytes -= arena_->Bytes(*sink_) - tokens * token_bytes;
  }
  for (const kv::ExtentId extent : sealing_) bytes -= arena_->Bytes(extent);
  for (int i = static_cast<int>(blocks_.size()) - 1; i >= shared_blocks_; --i) {
    const int64_t tokens = num_tokens_ - BlockBegin(i);
    if (tokens >= kBlockTokens) break;
    if (blocks_[i].layout == nullptr) continue;
    bytes -= arena_->Bytes(blocks_[i].extent) - std::max<int64_t>(tokens, 0) * token_bytes;
  }
  return bytes;
}

size_t SequenceCache::bf16_bytes() const {
  return num_tokens_ * (format_->bf16.bytes() / kBlockTokens);
}

}  // namespace kvpareto
