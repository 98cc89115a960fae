#include "engine/scheduler/sampled_continuation.h"

#include <algorithm>

namespace kvpareto {
namespace {

SamplingParams WithSeed(SamplingParams params, int index) {
  params.seed += index;
  return params;
}

}  // namespace

SampledContinuation::SampledContinuation(const PreparedRequest& prepared, int index,
                                         std::span<const int32_t> eos_tokens,
                                         const Tokenizer* tokenizer)
    : index_(index),
      end_tokens_(static_cast<int64_t>(prepared.prompt_tokens.size()) + prepared.max_tokens),
      tokens_(prepared.prompt_tokens),
      stop_tokens_(prepared.request.stopping.stop_tokens),
      sampler_(WithSeed(prepared.request.sampling, index), prepared.prompt_tokens,
               tokenizer->vocab_size()),
      decoder_(tokenizer),
      stops_(prepared.request.stopping.stop_strings) {
  if (!prepared.request.stopping.ignore_eos) {
    stop_tokens_.insert(stop_tokens_.end(), eos_tokens.begin(), eos_tokens.end());
  }
}

bool SampledContinuation::IsStopToken(int32_t token) const {
  return std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
}

std::optional<SampleRow> SampledContinuation::NextSample() const {
  return sampler_.wants_logits() ? std::nullopt : std::optional(sampler_.Next(0));
}

absl::StatusOr<Delta> SampledContinuation::Accept(StepOutput output) {
  KVP_ASSIGN_OR_RETURN(SampledToken sampled, sampler_.wants_logits()
                                                 ? sampler_.Sample(output.logits)
                                                 : sampler_.Accept(output.token));
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
    if (num_tokens() >= end_tokens_) delta.finish_reason = FinishReason::kLength;
  }
  if (delta.finish_reason.has_value()) {  // what was held back turns out not to be a stop string
    if (!stops_.Push(decoder_.Flush(), delta.text)) delta.text += stops_.Flush();
  }
  return delta;
}

}  // namespace kvpareto
