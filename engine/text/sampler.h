// The state of a sequence's sampling: what was seen, what comes next of its random numbers.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/ops/sample.h"

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

// INTERNAL (NUMERICAL_ERROR).
absl::Status NumericalError(const std::string& message);

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // of softmax(logits) before temperature and penalties
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top;  // most likely first; empty unless asked for
};

// Deterministic for a seed, on every platform and backend. Not thread-safe.
//
// A token is chosen where the logits are: either by a backend as Next() says, then Accept(token);
// or here, by Sample(logits), which logprobs need. Both give the same token for the same logits.
class Sampler {
 public:
  // `params` has passed Validate(vocab). Prompt ids outside the vocabulary are ignored.
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, int vocab);

  // Whether tokens must be sampled from logits on the host.
  bool wants_logits() const { return params_.top_logprobs >= 0; }

  // How to choose the next token from row `row` of some logits; valid until the next Accept.
  SampleRow Next(int row) const;
  // Takes what was chosen. kNotFinite: returns an error, INTERNAL (NUMERICAL_ERROR), and changes
  // nothing.
  absl::StatusOr<SampledToken> Accept(int32_t token);

  // Chooses from `logits` [vocab]; consumed (penalties are applied in place). Errors: as Accept.
  absl::StatusOr<SampledToken> Sample(std::span<float> logits);

 private:
  void Record(int32_t token);

  SamplingParams params_;
  std::mt19937_64 random_;
  uint64_t next_random_;
  std::vector<uint32_t> seen_;      // only with a repetition penalty: a bit per token
  std::vector<TokenCount> counts_;  // only with other penalties: of the output, by token
  std::vector<TokenBias> biases_;
};

}  // namespace kvpareto
