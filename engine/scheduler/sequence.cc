#include "engine/scheduler/sequence.h"

#include <algorithm>

namespace kvpareto {
namespace {

SamplingParams WithSeed(SamplingParams params, int index) {
  params.seed += index;
  return params;
}

}  // namespace

Sequence::Sequence(const SequenceSetup& setup, std::shared_ptr<const CacheFormat> format,
                   kv::Arena* arena)
    : index_(setup.index),
      prompt_tokens_(setup.prompt.size()),
      max_tokens_(setup.max_tokens),
      chunk_tokens_(format->config.prefill_chunk_tokens),
      tokens_(setup.prompt.begin(), setup.prompt.end()),
      stop_tokens_(setup.stopping->stop_tokens),
      cache_(std::move(format), arena),
      sampler_(WithSeed(setup.sampling, setup.index), setup.prompt, setup.tokenizer->vocab_size()),
      decoder_(setup.tokenizer),
      stops_(setup.stopping->stop_strings) {
  if (!setup.stopping->ignore_eos) {
    stop_tokens_.insert(stop_tokens_.end(), setup.eos_tokens.begin(), setup.eos_tokens.end());
  }
}

int Sequence::NextStepTokens() const {
  const int64_t left = static_cast<int64_t>(tokens_.size()) - cache_.num_tokens();
  return static_cast<int>(std::min<int64_t>(left, prefilling() ? chunk_tokens_ : 1));
}

bool Sequence::NextStepSamples() const {
  return cache_.num_tokens() + NextStepTokens() == static_cast<int64_t>(tokens_.size());
}

std::span<const int32_t> Sequence::NextTokens() const {
  return std::span(tokens_).subspan(cache_.num_tokens(), NextStepTokens());
}

bool Sequence::IsStopToken(int32_t token) const {
  return std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
}

absl::StatusOr<Delta> Sequence::Accept(std::span<float> logits) {
  KVP_ASSIGN_OR_RETURN(SampledToken sampled, sampler_.Sample(logits));
  tokens_.push_back(sampled.token);
  Delta delta{.sequence = index_};

  if (IsStopToken(sampled.token)) {  // no part of the output
    delta.finish_reason = FinishReason::kStop;
  } else {
    const bool stopped = stops_.Push(decoder_.Push(sampled.token), delta.text);
    delta.tokens.push_back(std::move(sampled));
    if (stopped) {
      delta.finish_reason = FinishReason::kStop;
      return delta;
    }
    if (generated_tokens() >= max_tokens_) delta.finish_reason = FinishReason::kLength;
  }
  if (delta.finish_reason.has_value()) {  // what was held back turns out not to be a stop string
    if (!stops_.Push(decoder_.Flush(), delta.text)) delta.text += stops_.Flush();
  }
  return delta;
}

}  // namespace kvpareto
