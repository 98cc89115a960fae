#include <cmath>

#include "engine/text/sampler.h"

namespace kvpareto {
namespace {

constexpr float kMaxTemperature = 100.0f;
constexpr float kMaxPenalty = 100.0f;
constexpr int kMaxTopLogprobs = 1000;

absl::Status Invalid(const std::string& field, const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SAMPLING_PARAMS",
                   field + " must be " + rule, {{"field", field}});
}

bool Within(float value, float low, float high) { return value >= low && value <= high; }

}  // namespace

absl::Status SamplingParams::Validate(int vocab) const {
  // Comparisons with NaN are false: NaN is refused everywhere.
  if (!Within(temperature, 0.0f, kMaxTemperature)) return Invalid("temperature", "in [0, 100]");
  if (top_k < 0) return Invalid("top_k", "0 (off) or positive");
  if (!(top_p > 0.0f && top_p <= 1.0f)) return Invalid("top_p", "in (0, 1]");
  if (!Within(min_p, 0.0f, 1.0f)) return Invalid("min_p", "in [0, 1]");
  if (!(repetition_penalty > 0.0f && repetition_penalty <= kMaxPenalty)) {
    return Invalid("repetition_penalty", "in (0, 100]");
  }
  if (!Within(presence_penalty, -kMaxPenalty, kMaxPenalty)) {
    return Invalid("presence_penalty", "in [-100, 100]");
  }
  if (!Within(frequency_penalty, -kMaxPenalty, kMaxPenalty)) {
    return Invalid("frequency_penalty", "in [-100, 100]");
  }
  if (top_logprobs < -1 || top_logprobs > kMaxTopLogprobs) {
    return Invalid("top_logprobs", "in [-1, 1000]");
  }
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= vocab) {
      return Invalid("logit_bias", "for tokens in [0, " + std::to_string(vocab) + "), not " +
                                       std::to_string(token));
    }
    if (!std::isfinite(bias)) return Invalid("logit_bias", "finite");
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
