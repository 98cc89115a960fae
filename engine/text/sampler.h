// From logits to the next token.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto {

struct SamplingParams {
  float temperature = 0.0f;         // 0: greedy (ties to the lowest id)
  int top_k = 0;                    // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // over prompt and output; > 1 discourages
  float presence_penalty = 0.0f;    // over output
  float frequency_penalty = 0.0f;   // over output
  uint64_t seed = 0;
  std::map<int32_t, float> logit_bias;
  int top_logprobs = -1;  // -1: no logprobs; 0: the chosen token's only; n: and the n most likely

  // Errors: INVALID_ARGUMENT (INVALID_SAMPLING_PARAMS) naming the field. `vocab` bounds logit_bias
  // keys.
  absl::Status Validate(int vocab) const;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // of softmax(logits) before temperature and penalties
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;  // most likely first; empty unless asked for
};

// State of one sequence's sampling. Deterministic for a seed. Not thread-safe.
class Sampler {
 public:
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, int vocab);
  // `logits` [vocab]; consumed (penalties are applied in place). NaN logits: returns an error,
  // INTERNAL (NUMERICAL_ERROR), and changes nothing.
  absl::StatusOr<SampledToken> Sample(std::span<float> logits);

 private:
  SamplingParams params_;
  std::mt19937_64 random_;
  std::map<int32_t, int> output_counts_;
  std::vector<bool> in_prompt_;  // [vocab], only with a repetition penalty
  std::vector<int32_t> order_;   // scratch
};

}  // namespace kvpareto
