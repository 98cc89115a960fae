#include "engine/ops/sample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

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

// What is not finite stays so: one check afterwards is enough.
void Adjust(std::span<float> logits, const SampleRow& how) {
  for (size_t word = 0; word < how.seen.size(); ++word) {
    for (uint32_t bits = how.seen[word]; bits != 0; bits &= bits - 1) {
      float& logit = logits[word * 32 + std::countr_zero(bits)];
      logit = WithRepetitionPenalty(logit, how.repetition_penalty);
    }
  }
  for (const auto& [token, count] : how.counts) {
    logits[token] =
        WithCountPenalties(logits[token], how.presence_penalty, how.frequency_penalty, count);
  }
  for (const auto& [token, bias] : how.biases) logits[token] += bias;
}

using Ranks = std::vector<uint64_t>;

// Sorts the `count` first of [begin, end) to the front. One pass over a heap where few are wanted;
// where many are, selecting first and sorting then is several times as fast.
void SortFirst(Ranks::iterator begin, size_t count, Ranks::iterator end) {
  const auto middle = begin + static_cast<ptrdiff_t>(count);
  if (count <= static_cast<size_t>(end - begin) / 16) {
    std::partial_sort(begin, middle, end, std::greater());
    return;
  }
  std::nth_element(begin, middle, end, std::greater());
  std::sort(begin, middle, std::greater());
}

// The logits of a row behind a largest one, and which of them are left to draw from.
class Candidates {
 public:
  Candidates(std::span<const float> logits, float max, const SampleRow& how)
      : logits_(logits), how_(how), max_(max), scale_(WeightScale(how.temperature)) {
    if (how.top_k > 0 || how.top_p < 1.0f) cut_ = RankCut();
    min_logit_ = max + MinLogitOffset(how);
  }

  int32_t Draw() const {
    uint64_t total = 0;
    for (size_t i = 0; i < logits_.size(); ++i) total += WeightOf(i);
    const uint64_t point = DrawPoint(how_.random, total);
    uint64_t sum = 0;
    for (size_t i = 0;; ++i) {
      sum += WeightOf(i);
      if (sum > point) return static_cast<int32_t>(i);
    }
  }

 private:
  uint64_t Weight(uint64_t rank) const { return TokenWeight(LogitOf(rank), max_, scale_); }
  uint64_t WeightOf(size_t token) const {
    const float logit = logits_[token];
    const bool kept =
        logit >= min_logit_ && (cut_ == 0 || TokenRank(logit, static_cast<int32_t>(token)) >= cut_);
    return kept ? TokenWeight(logit, max_, scale_) : 0;
  }

  // The rank of the last token that top-k and top-p leave.
  uint64_t RankCut() const {
    Ranks ranks(logits_.size());
    for (size_t i = 0; i < ranks.size(); ++i) {
      ranks[i] = TokenRank(logits_[i], static_cast<int32_t>(i));
    }
    size_t sorted = 0;
    if (how_.top_k > 0 && static_cast<size_t>(how_.top_k) < ranks.size()) {
      sorted = how_.top_k;
      SortFirst(ranks.begin(), sorted, ranks.end());
      ranks.resize(sorted);
    }
    return how_.top_p < 1.0f ? NucleusCut(ranks, sorted) : sorted > 0 ? ranks.back() : 0;
  }

  // The `sorted` first of `ranks` are in order.
  uint64_t NucleusCut(Ranks& ranks, size_t sorted) const {
    constexpr size_t kFirstChunk = 64;
    uint64_t total = 0;
    for (const uint64_t rank : ranks) total += Weight(rank);
    const uint64_t wanted = NucleusWeight(how_.top_p, total);
    uint64_t covered = 0;
    for (size_t i = 0;; ++i) {
      if (i == sorted) {  // sort some more; the rest stays behind, unordered
        sorted = std::min(ranks.size(), std::max(kFirstChunk, sorted * 8));
        SortFirst(ranks.begin() + i, sorted - i, ranks.end());
      }
      covered += Weight(ranks[i]);
      if (covered >= wanted) return ranks[i];
    }
  }

  const std::span<const float> logits_;
  const SampleRow& how_;
  const float max_;
  const double scale_;
  float min_logit_ = -kInfinity;
  uint64_t cut_ = 0;  // 0: all
};

}  // namespace

float MinLogitOffset(const SampleRow& how) {
  return how.min_p > 0.0f ? how.temperature * std::log(how.min_p) : -kInfinity;
}

int32_t SampleToken(std::span<float> logits, const SampleRow& how) {
  Adjust(logits, how);
  const float max = MaxOrNan(logits);
  if (!std::isfinite(max)) return kNotFinite;
  if (how.temperature == 0.0f) {
    return static_cast<int32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  }
  return Candidates(logits, max, how).Draw();
}

}  // namespace kvpareto
