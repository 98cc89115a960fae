// One continuation of a request's prompt: its tokens, cache, sampling state and text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/request.h"
#include "engine/scheduler/sequence_cache.h"
#include "engine/text/sampler.h"
#include "engine/text/stop_strings.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

// What a sequence is made from. Pointers outlive it.
struct SequenceSetup {
  int index = 0;  // 0..n-1 in its request
  std::span<const int32_t> prompt;
  SamplingParams sampling;
  const StoppingParams* stopping = nullptr;
  std::span<const int32_t> eos_tokens;
  int max_tokens = 0;
  const Tokenizer* tokenizer = nullptr;
};

// Not thread-safe: owned by the engine thread.
class Sequence {
 public:
  Sequence(const SequenceSetup& setup, std::shared_ptr<const CacheFormat> format, kv::Arena* arena);

  // Tokens that the next step adds: a whole prefill chunk of the config (the prompt's last one may
  // be shorter), or one. Never a part of a chunk: what a query reads exactly depends on the chunk's
  // borders, so the output must not depend on how busy the server is.
  int NextStepTokens() const;
  bool prefilling() const { return cache_.num_tokens() < prompt_tokens_; }
  // The next step reaches the last known token: its logits give a new one.
  bool NextStepSamples() const;
  // The tokens of the next step, [NextStepTokens()].
  std::span<const int32_t> NextTokens() const;

  // Takes the logits [vocab] of the last token (they are consumed): samples, and says what is new.
  // Errors: INTERNAL (NUMERICAL_ERROR).
  absl::StatusOr<Delta> Accept(std::span<float> logits);

  SequenceCache& cache() { return cache_; }
  const SequenceCache& cache() const { return cache_; }
  int64_t generated_tokens() const { return tokens_.size() - prompt_tokens_; }

 private:
  bool IsStopToken(int32_t token) const;

  const int index_;
  const int64_t prompt_tokens_;
  const int max_tokens_;
  const int chunk_tokens_;
  std::vector<int32_t> tokens_;  // prompt, then generated
  std::vector<int32_t> stop_tokens_;
  SequenceCache cache_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopStrings stops_;
};

}  // namespace kvpareto
