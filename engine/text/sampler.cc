#include "engine/text/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest value, or NaN when one is NaN. Lanes, because a single running maximum is a chain of
// dependent operations that the compiler must keep in order.
float MaxOrNan(std::span<const float> values) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> max;
  max.fill(-kInfinity);
  std::array<int, kLanes> nans{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      max[lane] = value > max[lane] ? value : max[lane];
      nans[lane] |= value != value;
    }
  }
  for (; i < values.size(); ++i) {
    max[0] = values[i] > max[0] ? values[i] : max[0];
    nans[0] |= values[i] != values[i];
  }
  if (std::any_of(nans.begin(), nans.end(), [](int n) { return n != 0; })) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  return *std::max_element(max.begin(), max.end());
}

// Most likely first, equal ones by id.
auto ByLogit(std::span<const float> logits) {
  return [logits](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
}

// Sorts the `count` first of [begin, end) to the front. One pass over a heap where few are wanted;
// where many are, selecting first and sorting then is several times as fast.
template <typename Compare>
void SortFirst(std::vector<int32_t>::iterator begin, size_t count,
               std::vector<int32_t>::iterator end, const Compare& compare) {
  const auto middle = begin + static_cast<ptrdiff_t>(count);
  if (count <= static_cast<size_t>(end - begin) / 16) {
    std::partial_sort(begin, middle, end, compare);
    return;
  }
  std::nth_element(begin, middle, end, compare);
  std::sort(begin, middle, compare);
}

double LogSumExp(std::span<const float> logits, float max) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum);
}

absl::Status NumericalError() {
  return MakeError(absl::StatusCode::kInternal, "NUMERICAL_ERROR",
                   "the model produced logits that are not finite");
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::span<const int32_t> prompt, int vocab)
    : params_(params), random_(params.seed) {
  if (params_.repetition_penalty == 1.0f) return;
  seen_.assign(vocab, false);
  for (const int32_t token : prompt) {
    if (token >= 0 && token < vocab) Record(token);
  }
  output_counts_.clear();  // the prompt counts for the repetition penalty only
}

absl::StatusOr<SampledToken> Sampler::Sample(std::span<float> logits) {
  KVP_CHECK(!logits.empty() && (seen_.empty() || seen_.size() == logits.size()));
  float max = MaxOrNan(logits);
  if (!std::isfinite(max)) return NumericalError();

  SampledToken result;
  const bool wants_logprobs = params_.top_logprobs >= 0;
  double log_sum = 0.0;
  std::vector<float> raw;
  if (wants_logprobs) {
    log_sum = LogSumExp(logits, max);
    raw.assign(logits.begin(), logits.end());
    const size_t count = std::min<size_t>(params_.top_logprobs, logits.size());
    candidates_.resize(logits.size());
    for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = static_cast<int32_t>(i);
    SortFirst(candidates_.begin(), count, candidates_.end(), ByLogit(logits));
    for (size_t i = 0; i < count; ++i) {
      const int32_t token = candidates_[i];
      result.top.push_back({token, static_cast<float>(raw[token] - log_sum)});
    }
  }

  const bool adjusts = !params_.logit_bias.empty() || !seen_ids_.empty() || !output_counts_.empty();
  if (adjusts) {
    Adjust(logits);
    max = MaxOrNan(logits);
    if (!std::isfinite(max)) return NumericalError();
  }
  result.token = Choose(logits, max);
  if (wants_logprobs) result.logprob = static_cast<float>(raw[result.token] - log_sum);
  Record(result.token);
  return result;
}

void Sampler::Adjust(std::span<float> logits) const {
  for (const int32_t token : seen_ids_) {
    float& logit = logits[token];
    logit = logit > 0.0f ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
  }
  for (const auto& [token, count] : output_counts_) {
    logits[token] -= params_.presence_penalty + params_.frequency_penalty * count;
  }
  for (const auto& [token, bias] : params_.logit_bias) logits[token] += bias;
}

int32_t Sampler::Choose(std::span<const float> logits, float max) {
  if (params_.temperature == 0.0f) {
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  }
  SelectCandidates(logits, max);
  double total = 0.0;
  for (const int32_t token : candidates_) total += Weight(logits[token], max);
  double rest = UniformDraw() * total;
  int32_t last = -1;
  for (const int32_t token : candidates_) {
    const double weight = Weight(logits[token], max);
    if (weight == 0.0) continue;
    last = token;
    if (rest < weight) break;
    rest -= weight;  // rounding may leave a rest behind the last one: it is the last one's
  }
  return last;
}

void Sampler::SelectCandidates(std::span<const float> logits, float max) {
  const float min_logit =
      params_.min_p > 0.0f ? max + params_.temperature * std::log(params_.min_p) : -kInfinity;
  // Without a nucleus min-p needs no order, and thins out what top-k must sort.
  const bool thin_first = params_.top_p == 1.0f;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == -kInfinity || (thin_first && logits[i] < min_logit)) continue;
    candidates_.push_back(static_cast<int32_t>(i));
  }
  size_t sorted = 0;
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < candidates_.size()) {
    sorted = params_.top_k;
    SortFirst(candidates_.begin(), sorted, candidates_.end(), ByLogit(logits));
    candidates_.resize(sorted);
  }
  if (thin_first) return;
  KeepTopP(logits, max, sorted);
  while (candidates_.size() > 1 && logits[candidates_.back()] < min_logit) candidates_.pop_back();
}

void Sampler::KeepTopP(std::span<const float> logits, float max, size_t sorted) {
  constexpr size_t kFirstChunk = 64;
  double total = 0.0;
  for (const int32_t token : candidates_) total += Weight(logits[token], max);
  double covered = 0.0;
  for (size_t kept = 0; kept < candidates_.size();) {
    if (kept == sorted) {  // sort some more; the rest stays behind, unordered
      sorted = std::min(candidates_.size(), std::max(kFirstChunk, sorted * 8));
      SortFirst(candidates_.begin() + kept, sorted - kept, candidates_.end(), ByLogit(logits));
    }
    covered += Weight(logits[candidates_[kept++]], max);
    if (covered >= params_.top_p * total) {
      candidates_.resize(kept);
      return;
    }
  }
}

double Sampler::Weight(float logit, float max) const {
  return std::exp((static_cast<double>(logit) - max) / params_.temperature);
}

void Sampler::Record(int32_t token) {
  if (params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f) {
    ++output_counts_[token];
  }
  if (!seen_.empty() && !seen_[token]) {
    seen_[token] = true;
    seen_ids_.push_back(token);
  }
}

double Sampler::UniformDraw() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

}  // namespace kvpareto
