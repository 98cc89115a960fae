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

// State of one sequence's sampling. Deterministic for a seed, on every platform. Not thread-safe.
//
// In this order: penalties, logit bias, temperature, top-k, top-p (of what top-k left), min-p
// (relative to the most likely token). Greedy is one scan; top-k and top-p sort only the candidates
// they keep.
class Sampler {
 public:
  // `params` has passed Validate(vocab). Prompt ids outside the vocabulary are ignored.
  Sampler(const SamplingParams& params, std::span<const int32_t> prompt, int vocab);
  // `logits` [vocab]; consumed (penalties are applied in place). NaN or +infinity among them, or
  // nothing but -infinity: returns an error, INTERNAL (NUMERICAL_ERROR), and changes nothing.
  absl::StatusOr<SampledToken> Sample(std::span<float> logits);

 private:
  void Adjust(std::span<float> logits) const;
  int32_t Choose(std::span<const float> logits, float max);
  // Fills candidates_ with the ids that top-k, top-p and min-p leave.
  void SelectCandidates(std::span<const float> logits, float max);
  // Cuts the sorted candidates_ to the fewest that hold top_p of the probability.
  void KeepTopP(std::span<const float> logits, float max, size_t sorted);
  double Weight(float logit, float max) const;  // exp((logit - max) / temperature)
  void Record(int32_t token);
  double UniformDraw();  // [0, 1)

  SamplingParams params_;
  std::mt19937_64 random_;
  std::map<int32_t, int> output_counts_;  // only with a presence or frequency penalty
  // Prompt and output ids, only with a repetition penalty.
  std::vector<bool> seen_;  // [vocab]
  std::vector<int32_t> seen_ids_;
  std::vector<int32_t> candidates_;  // scratch
};

}  // namespace kvpareto
