#include "engine/text/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

double LogSumExp(std::span<const float> logits) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum);
}

// The ids of the `count` largest logits, in order.
std::vector<int32_t> MostLikely(std::span<const float> logits, size_t count) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), [&](int32_t a, int32_t b) {
    return TokenRank(logits[a], a) > TokenRank(logits[b], b);
  });
  ids.resize(count);
  return ids;
}

}  // namespace

absl::Status NumericalError(const std::string& message) {
  return MakeError(absl::StatusCode::kInternal, "NUMERICAL_ERROR", message);
}

Sampler::Sampler(const SamplingParams& params, std::span<const int32_t> prompt, int vocab)
    : params_(params), random_(params.seed), next_random_(random_()) {
  for (const auto& [token, bias] : params_.logit_bias) biases_.push_back({token, bias});
  if (params_.repetition_penalty == 1.0f) return;
  seen_.assign((vocab + 31) / 32, 0);
  for (const int32_t token : prompt) {
    if (token >= 0 && token < vocab) seen_[token / 32] |= 1u << token % 32;
  }
}

SampleRow Sampler::Next(int row) const {
  return {.row = row,
          .temperature = params_.temperature,
          .top_k = params_.top_k,
          .top_p = params_.top_p,
          .min_p = params_.min_p,
          .repetition_penalty = params_.repetition_penalty,
          .presence_penalty = params_.presence_penalty,
          .frequency_penalty = params_.frequency_penalty,
          .random = next_random_,
          .seen = seen_,
          .counts = counts_,
          .biases = biases_};
}

absl::StatusOr<SampledToken> Sampler::Accept(int32_t token) {
  if (token == kNotFinite) {
    return NumericalError("the model produced logits that are not finite");
  }
  Record(token);
  next_random_ = random_();
  return SampledToken{.token = token};
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<float> logits) {
  KVP_CHECK(!logits.empty());
  if (!wants_logits()) return Accept(SampleToken(logits, Next(0)));
  const std::vector<float> raw(logits.begin(), logits.end());
  KVP_ASSIGN_OR_RETURN(SampledToken result, Accept(SampleToken(logits, Next(0))));
  const double log_sum = LogSumExp(raw);
  const auto logprob = [&](int32_t token) { return static_cast<float>(raw[token] - log_sum); };
  result.logprob = logprob(result.token);
  for (const int32_t token : MostLikely(raw, params_.top_logprobs)) {
    result.top.push_back({token, logprob(token)});
  }
  return result;
}

void Sampler::Record(int32_t token) {
  if (!seen_.empty()) seen_[token / 32] |= 1u << token % 32;
  if (params_.presence_penalty == 0.0f && params_.frequency_penalty == 0.0f) return;
  const auto at = std::lower_bound(counts_.begin(), counts_.end(), token,
                                   [](const TokenCount& c, int32_t t) { return c.token < t; });
  if (at != counts_.end() && at->token == token) {
    ++at->count;
  } else {
    counts_.insert(at, {token, 1});
  }
}

}  // namespace kvpareto
