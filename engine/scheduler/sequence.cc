#include "engine/scheduler/sequence.h"

#include <algorithm>
#include <utility>

namespace kvpareto {

Sequence::Sequence(SequenceSetup setup)
    : prompt_(setup.prompt),
      chunk_tokens_(setup.format->config.prefill_chunk_tokens),
      continuation_(std::move(setup.continuation)),
      arena_(setup.arena),
      prefixes_(setup.prefixes),
      prefix_(setup.prefix),
      cache_(std::move(setup.format), setup.arena, setup.prefixes) {}

Sequence::~Sequence() {
  if (prefix_ != nullptr) prefixes_->Leave(prefix_);
}

int Sequence::StepTokensAt(int64_t tokens) const {
  const bool prefilling = tokens < prompt_tokens();
  const int64_t left = (prefilling ? prompt_tokens() : continuation_->num_tokens()) - tokens;
  return static_cast<int>(std::min<int64_t>(left, prefilling ? chunk_tokens_ : 1));
}

bool Sequence::NextStepSamples() const {
  return cache_.num_tokens() + NextStepTokens() == continuation_->num_tokens();
}

std::span<const int32_t> Sequence::NextTokens() const {
  return continuation_->tokens().subspan(cache_.num_tokens(), NextStepTokens());
}

PrefixNode* Sequence::LongestPrefix() const {
  if (!at_prefix() || !prefilling()) return nullptr;
  const std::span<const int32_t> rest = prompt_.subspan(cache_.num_tokens());
  return prefixes_->Longest(prefix_, rest.first(rest.size() - 1), chunk_tokens_);
}

void Sequence::TakeOver(PrefixNode* node, std::span<const kv::ExtentId> tail) {
  taken_over_tokens_ += node->end_tokens - cache_.num_tokens();
  prefixes_->Advance(prefix_, node);
  cache_.TakeOver(*node, tail);
  prefix_ = node;
}

size_t Sequence::SharePrefix() {
  const int64_t tokens = cache_.num_tokens();
  if (prefix_ == nullptr || tokens != prefix_->end_tokens + chunk_tokens_ ||
      tokens > prompt_tokens()) {
    return 0;
  }
  const std::span<const int32_t> chunk = prompt_.subspan(prefix_->end_tokens, chunk_tokens_);
  PrefixNode* const from = prefix_;
  prefix_ = prefixes_->Child(from, chunk);
  if (prefix_ == nullptr) {
    prefix_ = prefixes_->Add(from, cache_.Share(chunk));
  } else {
    prefixes_->Advance(from, prefix_);
    cache_.Adopt(*prefix_);
    arena_->Unreserve(prefix_->bytes);
    if (!prefix_->has_tail) prefixes_->SetTail(prefix_, cache_.LendTail());
  }
  // The last but one stays: prompts often differ in their last words only.
  if (from->parent != nullptr) prefixes_->ThinTail(from->parent);
  return prefix_->bytes;
}

size_t Sequence::TakeBackPrefix() {
  size_t bytes = 0;
  while (prefix_ != nullptr && prefixes_->CanWithdraw(prefix_)) {
    PrefixNode* const parent = prefix_->parent;
    bytes += prefix_->bytes;
    cache_.TakeBack(*prefix_);
    prefixes_->Withdraw(prefix_);
    prefix_ = parent;
  }
  return bytes;
}

SharedPart Sequence::SharedAfterTakingBack() const {
  SharedPart part{.blocks = cache_.shared_blocks(), .sink = cache_.sink_shared()};
  int children = 0;  // of a prefix when all longer ones have been taken back: one more before that
  for (const PrefixNode* node = prefix_; node != nullptr && node->parent != nullptr;
       node = node->parent) {
    if (node->users != 1 || node->children != children) break;
    part.blocks -= static_cast<int>(node->blocks.size());
    if (node->sink) part.sink = false;
    part.taken_back_bytes += node->bytes;
    children = 1;
  }
  return part;
}

}  // namespace kvpareto
