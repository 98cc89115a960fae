// What a SequenceCache has in common with others (declared in sequence_cache.h).
#include <utility>

#include "engine/base/check.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {

PrefixCache::State SequenceCache::Share(std::span<const int32_t> chunk) {
  PrefixCache::State state;
  state.tokens = chunk;
  const auto hand_over = [this](kv::ExtentId extent) {
    own_bytes_ -= arena_->Bytes(extent);
    shared_bytes_ += arena_->Bytes(extent);
    return extent;
  };
  if (SinkIsFull() && !sink_shared_) {
    state.sink = hand_over(*sink_);
    sink_shared_ = true;
  }
  for (; shared_blocks_ < FinalBlocks(); ++shared_blocks_) {
    Block& block = blocks_[shared_blocks_];
    state.blocks.push_back(hand_over(block.extent));
    if (block.lent) state.lent_blocks.push_back(std::exchange(block.lent, nullptr));
  }
  state.tail = LendTail();
  return state;
}

std::vector<std::shared_ptr<TailExtent>> SequenceCache::LendTail() {
  std::vector<std::shared_ptr<TailExtent>> tail;
  for (size_t i = FinalBlocks(); i < blocks_.size(); ++i) {
    std::shared_ptr<TailExtent>& lent = blocks_[i].lent;
    if (lent == nullptr) {
      lent = std::make_shared<TailExtent>();
      lent->extent = blocks_[i].extent;
      lent->bytes = arena_->Bytes(lent->extent);
    }
    tail.push_back(lent);
  }
  return tail;
}

void SequenceCache::Adopt(const PrefixNode& node) {
  if (node.sink) {
    if (!sink_shared_) Release(*sink_);
    sink_ = *node.sink;
    sink_shared_ = true;
  }
  KVP_CHECK(shared_blocks_ + node.blocks.size() == static_cast<size_t>(FinalBlocks()))
      << shared_blocks_ << " shared and " << node.blocks.size() << " blocks of the prefix";
  for (kv::ExtentId extent : node.blocks) {
    Block& block = blocks_[shared_blocks_++];
    Release(block);
    block = {.extent = extent, .layout = &final_layout(), .lent = nullptr};
  }
  shared_bytes_ += node.bytes;
}

void SequenceCache::TakeOver(const PrefixNode& node, std::span<const kv::ExtentId> tail) {
  for (size_t i = shared_blocks_; i < blocks_.size(); ++i) Release(blocks_[i]);
  blocks_.resize(shared_blocks_);
  if (sink_ && !sink_shared_) {
    Release(*sink_);
    sink_.reset();
  }
  std::vector<const PrefixNode*> path;  // from the end to where this stands
  for (const PrefixNode* at = &node; at->end_tokens > num_tokens_; at = at->parent) {
    path.push_back(at);
  }
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    if ((*it)->sink) sink_ = (*it)->sink;
    for (kv::ExtentId extent : (*it)->blocks) {
      blocks_.push_back({.extent = extent, .layout = &final_layout(), .lent = nullptr});
    }
    shared_bytes_ += (*it)->bytes;
  }
  sink_shared_ = sink_.has_value();
  shared_blocks_ = static_cast<int>(blocks_.size());
  num_tokens_ = node.end_tokens;
  KVP_CHECK(shared_blocks_ == FinalBlocks()) << shared_blocks_ << " of " << FinalBlocks();
  for (kv::ExtentId extent : tail) {
    const kv::ExtentId copy = Take(format_->bf16.bytes());
    arena_->Copy(extent, copy);
    blocks_.push_back({.extent = copy, .layout = &format_->bf16, .lent = nullptr});
  }
}

std::vector<kv::ExtentId> SequenceCache::TailExtents() const {
  std::vector<kv::ExtentId> extents;
  for (size_t i = FinalBlocks(); i < blocks_.size(); ++i) extents.push_back(blocks_[i].extent);
  return extents;
}

}  // namespace kvpareto
