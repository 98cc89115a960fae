#include "engine/scheduler/sequence.h"

#include <algorithm>
#include <utility>

namespace kvpareto {

Sequence::Sequence(int64_t prompt_tokens, std::unique_ptr<Continuation> continuation,
                   std::shared_ptr<const CacheFormat> format, kv::Arena* arena)
    : prompt_tokens_(prompt_tokens),
      chunk_tokens_(format->config.prefill_chunk_tokens),
      continuation_(std::move(continuation)),
      cache_(std::move(format), arena) {}

int Sequence::NextStepTokens() const {
  const int64_t left = continuation_->num_tokens() - cache_.num_tokens();
  return static_cast<int>(std::min<int64_t>(left, prefilling() ? chunk_tokens_ : 1));
}

bool Sequence::NextStepSamples() const {
  return cache_.num_tokens() + NextStepTokens() == continuation_->num_tokens();
}

std::span<const int32_t> Sequence::NextTokens() const {
  return continuation_->tokens().subspan(cache_.num_tokens(), NextStepTokens());
}

}  // namespace kvpareto
