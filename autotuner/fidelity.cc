#include "autotuner/fidelity.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "autotuner/vector_exp.h"

namespace kvpareto::tune {
namespace {

constexpr double kZ95 = 1.959964;  // normal quantile of 97.5%
constexpr int kBootstrapRounds = 1000;
constexpr int kBootstrapBlock = 64;
constexpr float kSmall = 0.25f;  // |log(p/q)| up to which a series of seven terms is exact enough

float Max(std::span<const float> values) {
  if (values.size() < kLanes) return *std::max_element(values.begin(), values.end());
  Floats max = LoadFloats(values.data());
  for (size_t i = kLanes; i + kLanes <= values.size(); i += kLanes) {
    const Floats x = LoadFloats(&values[i]);
    max = x > max ? x : max;
  }
  // The last vector overlaps the one before.
  const Floats last = LoadFloats(&values[values.size() - kLanes]);
  max = last > max ? last : max;
  float result = max[0];
  for (int lane = 1; lane < kLanes; ++lane) result = std::max(result, max[lane]);
  return result;
}

int TopToken(std::span<const float> values) {
  return static_cast<int>(std::find(values.begin(), values.end(), Max(values)) - values.begin());
}

// f(first index) for whole vectors of `size` entries, summed; partial sums are short, so that float
// does for them. The entries that are left over are the caller's.
template <typename F>
double SumVectors(size_t size, F&& f) {
  constexpr size_t kPart = 32 * kLanes;
  double sum = 0.0;
  const size_t whole = size / kLanes * kLanes;
  for (size_t begin = 0; begin < whole; begin += kPart) {
    Floats part = Broadcast(0.0f);
    const size_t end = std::min(begin + kPart, whole);
    for (size_t i = begin; i < end; i += kLanes) part += f(i);
    for (int lane = 0; lane < kLanes; ++lane) sum += part[lane];
  }
  return sum;
}

}  // namespace

void LogSoftmax(std::span<float> logits) {
  const float max = Max(logits);
  double sum =
      SumVectors(logits.size(), [&](size_t i) { return Exp(LoadFloats(&logits[i]) - max); });
  for (size_t i = logits.size() / kLanes * kLanes; i < logits.size(); ++i) {
    sum += std::exp(logits[i] - max);
  }
  const double log_normalizer = max + std::log(sum);
  for (float& logit : logits) logit = static_cast<float>(logit - log_normalizer);
}

PositionFidelity ComparePosition(std::span<const float> reference, std::span<const float> candidate,
                                 int32_t next_token) {
  // sum p log(p/q) as sum of p log(p/q) - p + q: each term is >= 0, so rounding cannot cancel. With
  // d = log(p/q) a term is p (d - 1 + exp(-d)); where d is small that is a series in d.
  const auto term = [&](size_t i) {
    const Floats r = LoadFloats(&reference[i]), c = LoadFloats(&candidate[i]);
    const Floats d = r - c;
    const Floats p = Exp(r), q = Exp(c);
    Floats series = d * (-1.0f / 5040) + 1.0f / 720;
    series = series * d - 1.0f / 120;
    series = series * d + 1.0f / 24;
    series = series * d - 1.0f / 6;
    series = series * d + 1.0f / 2;
    const Ints small = (d < kSmall) & (d > -kSmall);
    return small ? p * (series * d * d) : p * (d - 1.0f) + q;
  };
  PositionFidelity result;
  result.kl = SumVectors(reference.size(), term);
  for (size_t i = reference.size() / kLanes * kLanes; i < reference.size(); ++i) {
    const double d = static_cast<double>(reference[i]) - candidate[i];
    result.kl += std::exp(static_cast<double>(reference[i])) * (d + std::expm1(-d));
  }
  result.same_top = TopToken(reference) == TopToken(candidate);
  result.reference_nll = -reference[next_token];
  result.candidate_nll = -candidate[next_token];
  return result;
}

double WilsonLow(int64_t successes, int64_t trials) {
  if (trials == 0) return 0.0;
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double z2 = kZ95 * kZ95;
  const double center = p + z2 / (2 * n);
  const double margin = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return std::max(0.0, (center - margin) / (1 + z2 / n));
}

double BlockBootstrapLow(std::span<const double> samples, int block) {
  if (samples.empty()) return 0.0;
  struct Run {
    double sum = 0.0;
    int64_t count = 0;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (i % block == 0) runs.emplace_back();
    runs.back().sum += samples[i];
    ++runs.back().count;
  }
  std::mt19937_64 random(1);
  std::uniform_int_distribution<size_t> pick(0, runs.size() - 1);
  std::vector<double> means;
  for (int round = 0; round < kBootstrapRounds; ++round) {
    Run total;
    for (size_t i = 0; i < runs.size(); ++i) {
      const Run& run = runs[pick(random)];
      total.sum += run.sum;
      total.count += run.count;
    }
    means.push_back(total.sum / static_cast<double>(total.count));
  }
  return Quantile(std::move(means), 0.025);
}

double Quantile(std::vector<double> samples, double q) {
  if (samples.empty()) return 0.0;
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(samples.size())));
  const auto nth = samples.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
  std::nth_element(samples.begin(), nth, samples.end());
  return *nth;
}

AccuracyBucket Summarize(int64_t max_context_tokens, std::span<const PositionFidelity> positions) {
  AccuracyBucket bucket{.max_context_tokens = max_context_tokens,
                        .samples = static_cast<int64_t>(positions.size())};
  if (positions.empty()) return bucket;
  std::vector<double> hits, kls;
  double nll_difference = 0.0;
  for (const PositionFidelity& position : positions) {
    hits.push_back(position.same_top ? 1.0 : 0.0);
    kls.push_back(position.kl);
    bucket.kl_mean += position.kl;
    nll_difference += position.candidate_nll - position.reference_nll;
  }
  const double n = static_cast<double>(positions.size());
  const auto agreements = static_cast<int64_t>(std::count(hits.begin(), hits.end(), 1.0));
  bucket.accuracy = static_cast<double>(agreements) / n;
  bucket.accuracy_low =
      std::min(WilsonLow(agreements, bucket.samples), BlockBootstrapLow(hits, kBootstrapBlock));
  bucket.kl_mean /= n;
  bucket.kl_p99 = Quantile(std::move(kls), 0.99);
  bucket.perplexity_ratio = std::exp(nll_difference / n);
  return bucket;
}

}  // namespace kvpareto::tune
