// One continuation of a request's prompt inside the scheduler: how far it is, and its cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "engine/base/status.h"
#include "engine/request.h"
#include "engine/scheduler/continuation.h"
#include "engine/scheduler/prefix_cache.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {

// What a sequence is made from. Pointers outlive it.
struct SequenceSetup {
  std::span<const int32_t> prompt;
  std::unique_ptr<Continuation> continuation;
  std::shared_ptr<const CacheFormat> format;
  kv::Arena* arena = nullptr;
  // Where it looks for its prompt's prefixes and leaves them: the sequence is a user of `prefix`,
  // the root of its domain. Null: it shares nothing.
  PrefixCache* prefixes = nullptr;
  PrefixNode* prefix = nullptr;
};

// What a sequence shares: its first blocks, and perhaps the sink.
struct SharedPart {
  int blocks = 0;
  bool sink = false;
  size_t taken_back_bytes = 0;  // that it shared before
};

// Not thread-safe: owned by the engine thread.
class Sequence {
 public:
  explicit Sequence(SequenceSetup setup);
  ~Sequence();

  // Tokens that the next step adds: a whole prefill chunk of the config (the prompt's last one may
  // be shorter), or one. Never a part of a chunk: what a query reads exactly depends on the chunk's
  // borders, so the output must not depend on how busy the server is.
  int NextStepTokens() const { return StepTokensAt(cache_.num_tokens()); }
  int StepTokensAt(int64_t tokens) const;
  bool prefilling() const { return cache_.num_tokens() < prompt_tokens(); }
  // The next step reaches the last known token: its logits give a new one.
  bool NextStepSamples() const;
  // The tokens of the next step, [NextStepTokens()].
  std::span<const int32_t> NextTokens() const;

  // As Continuation's.
  std::optional<SampleRow> NextSample() const { return continuation_->NextSample(); }
  absl::StatusOr<Delta> Accept(StepOutput output) {
    return continuation_->Accept(std::move(output));
  }

  std::span<const int32_t> tokens() const { return continuation_->tokens(); }
  SequenceCache& cache() { return cache_; }
  const SequenceCache& cache() const { return cache_; }
  std::span<const int32_t> prompt() const { return prompt_; }
  int64_t prompt_tokens() const { return static_cast<int64_t>(prompt_.size()); }
  int64_t generated_tokens() const { return continuation_->num_tokens() - prompt_tokens(); }

  // The prefix that it stands at or behind; null: it shares nothing.
  PrefixNode* prefix() const { return prefix_; }
  bool at_prefix() const {
    return prefix_ != nullptr && prefix_->end_tokens == cache_.num_tokens();
  }
  // The longest prefix of its prompt that it could go on from, if that is further than it is.
  // Leaves a token to compute: somebody must give the logits of the next one.
  PrefixNode* LongestPrefix() const;
  // Goes on from `node`, copying `tail` (SequenceCache::TakeOver).
  void TakeOver(PrefixNode* node, std::span<const kv::ExtentId> tail);
  // Leaves the chunk that a step has just completed to the prefix cache. Returns the bytes that the
  // sequence no longer needs a promise for; those that the cache has already are unreserved.
  size_t SharePrefix();
  // Takes back what nobody else uses or continues of its prefix; returns the bytes, which its
  // promise has to cover again. And what it will share then.
  size_t TakeBackPrefix();
  SharedPart SharedAfterTakingBack() const;
  int64_t taken_over_tokens() const { return taken_over_tokens_; }

 private:
  const std::span<const int32_t> prompt_;
  const int chunk_tokens_;
  std::unique_ptr<Continuation> continuation_;
  kv::Arena* const arena_;
  PrefixCache* const prefixes_;
  PrefixNode* prefix_;
  int64_t taken_over_tokens_ = 0;
  SequenceCache cache_;
};

}  // namespace kvpareto
