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
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {

// Not thread-safe: owned by the engine thread.
class Sequence {
 public:
  Sequence(int64_t prompt_tokens, std::unique_ptr<Continuation> continuation,
           std::shared_ptr<const CacheFormat> format, kv::Arena* arena);

  // Tokens that the next step adds: a whole prefill chunk of the config (the prompt's last one may
  // be shorter), or one. Never a part of a chunk: what a query reads exactly depends on the chunk's
  // borders, so the output must not depend on how busy the server is.
  int NextStepTokens() const;
  bool prefilling() const { return cache_.num_tokens() < prompt_tokens_; }
  // The next step reaches the last known token: its logits give a new one.
  bool NextStepSamples() const;
  // The tokens of the next step, [NextStepTokens()].
  std::span<const int32_t> NextTokens() const;

  // As Continuation's.
  std::optional<SampleRow> NextSample() const { return continuation_->NextSample(); }
  absl::StatusOr<Delta> Accept(StepOutput output) {
    return continuation_->Accept(std::move(output));
  }

  SequenceCache& cache() { return cache_; }
  const SequenceCache& cache() const { return cache_; }
  int64_t generated_tokens() const { return continuation_->num_tokens() - prompt_tokens_; }

 private:
  const int64_t prompt_tokens_;
  const int chunk_tokens_;
  std::unique_ptr<Continuation> continuation_;
  SequenceCache cache_;
};

}  // namespace kvpareto
