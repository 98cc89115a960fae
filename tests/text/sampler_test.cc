#include "engine/text/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace kvpareto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(int vocab, float spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

SampledToken Next(Sampler& sampler, std::vector<float> logits) {
  const auto result = sampler.Sample(logits);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : SampledToken();
}

int32_t Once(const SamplingParams& params, const std::vector<float>& logits,
             const std::vector<int32_t>& prompt = {}) {
  Sampler sampler(params, prompt, static_cast<int>(logits.size()));
  return Next(sampler, logits).token;
}

// The distribution by definition: sort everything, in double precision.
std::vector<double> Reference(const SamplingParams& params, const std::vector<float>& logits) {
  const size_t vocab = logits.size();
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> weights(vocab, 0.0);
  size_t kept = params.top_k > 0 ? std::min<size_t>(params.top_k, vocab) : vocab;
  double total = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    weights[order[i]] =
        std::exp((double{logits[order[i]]} - logits[order[0]]) / params.temperature);
    total += weights[order[i]];
  }
  double covered = 0.0;
  bool closed = false;
  for (size_t i = 0; i < kept; ++i) {
    double& weight = weights[order[i]];
    const bool drop = closed || weight < params.min_p;
    covered += weight;
    closed = closed || (params.top_p < 1.0f && covered >= params.top_p * total);
    if (drop) weight = 0.0;
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

// Draws from `params` and holds the counts to the reference: nothing outside its support, and
// Pearson's chi-squared within 6 standard deviations of its mean (bins of < 10 expected counts are
// put together). The seed is fixed: this passes always or never.
void ExpectDistribution(SamplingParams params, const std::vector<float>& logits, int draws) {
  params.seed = 12345;
  const std::vector<double> expected = Reference(params, logits);
  Sampler sampler(params, {}, static_cast<int>(logits.size()));
  std::vector<int> counts(logits.size(), 0);
  for (int i = 0; i < draws; ++i) ++counts[Next(sampler, logits).token];
  double chi_squared = 0.0, rest_expected = 0.0, rest_count = 0.0;
  int bins = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (expected[id] == 0.0) {
      EXPECT_EQ(counts[id], 0) << "token " << id << " is outside the support";
      continue;
    }
    if (expected[id] * draws < 10) {
      rest_expected += expected[id] * draws;
      rest_count += counts[id];
      continue;
    }
    chi_squared += std::pow(counts[id] - expected[id] * draws, 2) / (expected[id] * draws);
    ++bins;
  }
  if (rest_expected >= 10) {
    chi_squared += std::pow(rest_count - rest_expected, 2) / rest_expected;
    ++bins;
  }
  const double freedom = std::max(bins - 1, 1);
  EXPECT_LT(chi_squared, freedom + 6 * std::sqrt(2 * freedom)) << bins << " bins";
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualOnesTheFirst) {
  EXPECT_EQ(Once({}, {1.0f, 3.0f, 2.0f, 3.0f}), 1);
  EXPECT_EQ(Once({}, {-kInfinity, -5.0f, -kInfinity}), 1);
  EXPECT_EQ(Once({}, {7.0f}), 0);
  for (const int size : {15, 16, 17, 31, 33, 1000}) {
    for (const int best : {0, size / 2, size - 1}) {
      std::vector<float> logits(size, -1.0f);
      logits[best] = 0.5f;
      EXPECT_EQ(Once({}, logits), best) << size;
    }
  }
}

TEST(Sampler, LogitsThatAreNotFiniteAreAnError) {
  for (const float bad : {kNaN, -kNaN, kInfinity}) {
    for (const int position : {0, 15, 16, 39}) {
      std::vector<float> logits(40, 1.0f);
      logits[position] = bad;
      Sampler sampler({}, {}, 40);
      const auto result = sampler.Sample(logits);
      ASSERT_FALSE(result.ok());
      EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
      EXPECT_EQ(GetErrorInfo(result.status())->reason, "NUMERICAL_ERROR");
    }
  }
  std::vector<float> nothing(40, -kInfinity);
  Sampler sampler({}, {}, 40);
  EXPECT_FALSE(sampler.Sample(nothing).ok());
}

TEST(Sampler, AnErrorChangesNothing) {
  const std::vector<float> logits = RandomLogits(50, 1.0f, 1);
  const SamplingParams params{.temperature = 1.0f, .frequency_penalty = 0.5f, .seed = 3};
  Sampler disturbed(params, {}, 50), straight(params, {}, 50);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> bad = logits;
    bad[7] = kNaN;
    EXPECT_FALSE(disturbed.Sample(bad).ok());
    EXPECT_EQ(Next(disturbed, logits).token, Next(straight, logits).token);
  }
}

TEST(Sampler, ABackendChoosesTheSameTokens) {
  const SamplingParams params{.temperature = 0.8f,
                              .top_p = 0.9f,
                              .repetition_penalty = 1.2f,
                              .presence_penalty = 0.3f,
                              .seed = 9,
                              .logit_bias = {{4, 0.5f}}};
  const std::vector<int32_t> prompt = {1, 30, 31, 32, 999};
  Sampler here(params, prompt, 500), there(params, prompt, 500);
  for (int i = 0; i < 200; ++i) {
    std::vector<float> logits = RandomLogits(500, 2.0f, 100 + i);
    const auto accepted = there.Accept(SampleToken(logits, there.Next(0)));
    ASSERT_TRUE(accepted.ok());
    EXPECT_EQ(accepted->token, Next(here, RandomLogits(500, 2.0f, 100 + i)).token);
  }
  EXPECT_EQ(GetErrorInfo(there.Accept(kNotFinite).status())->reason, "NUMERICAL_ERROR");
}

TEST(Sampler, OneSeedOneSequence) {
  const std::vector<float> logits = RandomLogits(1000, 1.0f, 2);
  const auto draw = [&](uint64_t seed) {
    Sampler sampler({.temperature = 1.0f, .seed = seed}, {}, 1000);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 20; ++i) tokens.push_back(Next(sampler, logits).token);
    return tokens;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

TEST(Sampler, TemperatureShapesTheDistribution) {
  const std::vector<float> logits = RandomLogits(40, 1.0f, 3);
  for (const float temperature : {0.3f, 1.0f, 2.5f}) {
    ExpectDistribution({.temperature = temperature}, logits, 40'000);
  }
  ExpectDistribution({.temperature = 100.0f}, logits, 40'000);
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  const std::vector<float> logits = RandomLogits(1000, 5.0f, 4);
  const int32_t best = Once({}, logits);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(Once({.temperature = 1e-30f, .seed = seed}, logits), best);
  }
}

TEST(Sampler, TopK) {
  const std::vector<float> logits = RandomLogits(200, 1.0f, 5);
  for (const int k : {1, 2, 50, 199, 200, 1000}) {
    ExpectDistribution({.temperature = 1.0f, .top_k = k}, logits, 20'000);
  }
  // Of equal ones at the border the lowest ids stay.
  ExpectDistribution({.temperature = 1.0f, .top_k = 3}, std::vector<float>(10, 1.0f), 10'000);
}

TEST(Sampler, TopPAcrossItsPartialSorts) {
  // Nearly flat: the nucleus needs several rounds of sorting; peaked: one.
  for (const float spread : {0.1f, 1.0f, 4.0f}) {
    const std::vector<float> logits = RandomLogits(1200, spread, 6);
    for (const float p : {0.01f, 0.5f, 0.9f, 0.999f}) {
      ExpectDistribution({.temperature = 1.0f, .top_p = p}, logits, 2'000);
    }
  }
}

TEST(Sampler, TopPKeepsTheTokenThatCrossesTheBound) {
  // Probabilities 0.5, 0.25, 0.125, 0.125, exactly.
  const float ln2 = std::log(2.0f);
  const std::vector<float> logits = {-2 * ln2, 0.0f, -ln2, -2 * ln2};
  std::set<int32_t> seen;
  Sampler sampler({.temperature = 1.0f, .top_p = 0.6f, .seed = 1}, {}, 4);
  for (int i = 0; i < 1000; ++i) seen.insert(Next(sampler, logits).token);
  EXPECT_EQ(seen, (std::set<int32_t>{1, 2}));
}

TEST(Sampler, MinP) {
  const std::vector<float> logits = RandomLogits(500, 2.0f, 7);
  for (const float p : {0.001f, 0.1f, 0.9f, 1.0f}) {
    ExpectDistribution({.temperature = 1.5f, .min_p = p}, logits, 20'000);
  }
}

TEST(Sampler, AllOfThemTogether) {
  const std::vector<float> logits = RandomLogits(1000, 2.0f, 8);
  for (const int k : {0, 5, 100}) {
    for (const float p : {0.3f, 0.95f, 1.0f}) {
      for (const float min_p : {0.0f, 0.05f, 0.5f}) {
        ExpectDistribution({.temperature = 0.9f, .top_k = k, .top_p = p, .min_p = min_p}, logits,
                           2'000);
      }
    }
  }
}

TEST(Sampler, BannedTokensAreNeverDrawn) {
  std::vector<float> logits(300, -kInfinity);
  logits[17] = 1.0f;
  for (const float top_p : {0.5f, 1.0f}) {
    for (const int top_k : {0, 100}) {
      EXPECT_EQ(Once({.temperature = 1.0f, .top_k = top_k, .top_p = top_p}, logits), 17);
    }
  }
}

TEST(Sampler, RepetitionPenaltyCountsPromptAndOutput) {
  // 4.0 / 2 < 3.0, and -1.0 * 2 < -1.5.
  EXPECT_EQ(Once({.repetition_penalty = 2.0f}, {3.0f, 4.0f}), 1);
  EXPECT_EQ(Once({.repetition_penalty = 2.0f}, {3.0f, 4.0f}, {1, 1, 99, -1}), 0);
  EXPECT_EQ(Once({.repetition_penalty = 2.0f}, {-1.5f, -1.0f}, {1}), 0);
  EXPECT_EQ(Once({.repetition_penalty = 0.5f}, {3.0f, 2.0f}, {1}), 1);
  Sampler sampler({.repetition_penalty = 2.0f}, {}, 3);
  const std::vector<float> logits = {4.0f, 3.0f, 2.5f};
  EXPECT_EQ(Next(sampler, logits).token, 0);
  EXPECT_EQ(Next(sampler, logits).token, 1);
  EXPECT_EQ(Next(sampler, logits).token, 2);
  EXPECT_EQ(Next(sampler, logits).token, 0);  // all halved once, not more
}

TEST(Sampler, PresencePenaltyIsPaidOnce) {
  Sampler sampler({.presence_penalty = 1.0f}, std::vector<int32_t>{0, 0, 0}, 2);
  const std::vector<float> logits = {2.0f, 1.5f};
  EXPECT_EQ(Next(sampler, logits).token, 0);  // the prompt does not count
  EXPECT_EQ(Next(sampler, logits).token, 1);  // 1.0 against 1.5
  EXPECT_EQ(Next(sampler, logits).token, 0);  // 1.0 against 0.5
  EXPECT_EQ(Next(sampler, logits).token, 0);
}

TEST(Sampler, FrequencyPenaltyGrows) {
  Sampler sampler({.frequency_penalty = 1.0f}, {}, 2);
  const std::vector<float> logits = {2.5f, 0.0f};
  for (const int32_t expected : {0, 0, 0, 1, 0}) {  // 2.5, 1.5, 0.5, -0.5 | 0, then -0.5 | -1
    EXPECT_EQ(Next(sampler, logits).token, expected);
  }
}

TEST(Sampler, LogitBias) {
  EXPECT_EQ(Once({.logit_bias = {{0, 5.0f}}}, {0.0f, 1.0f}), 0);
  EXPECT_EQ(Once({.logit_bias = {{1, -100.0f}}}, {0.0f, 1.0f}), 0);
  // After the penalties: 4 / 2 + 2 > 3.5.
  EXPECT_EQ(Once({.repetition_penalty = 2.0f, .logit_bias = {{0, 2.0f}}}, {4.0f, 3.5f}, {0}), 0);
}

TEST(Sampler, LogprobsAreOfTheUnchangedDistribution) {
  const std::vector<float> logits = RandomLogits(100, 2.0f, 9);
  const std::vector<double> expected = Reference({.temperature = 1.0f}, logits);
  Sampler sampler({.temperature = 3.0f,
                   .top_k = 5,
                   .presence_penalty = 2.0f,
                   .seed = 4,
                   .logit_bias = {{3, 10.0f}},
                   .top_logprobs = 100},
                  {}, 100);
  for (int i = 0; i < 20; ++i) {
    const SampledToken result = Next(sampler, logits);
    // float rounding of a value of at most about 20
    EXPECT_NEAR(result.logprob, std::log(expected[result.token]), 4e-6);
    ASSERT_EQ(result.top.size(), 100u);
    for (size_t j = 0; j < result.top.size(); ++j) {
      EXPECT_NEAR(result.top[j].logprob, std::log(expected[result.top[j].token]), 4e-6);
      EXPECT_LE(result.top[j].logprob, result.top[j == 0 ? 0 : j - 1].logprob);
    }
  }
}

TEST(Sampler, AsManyLogprobsAsAskedFor) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 3.0f};
  Sampler none({}, {}, 4), own({.top_logprobs = 0}, {}, 4), two({.top_logprobs = 3}, {}, 4),
      more({.top_logprobs = 9}, {}, 4);
  EXPECT_EQ(Next(none, logits).logprob, 0.0f);
  EXPECT_LT(Next(own, logits).logprob, 0.0f);
  EXPECT_TRUE(Next(own, logits).top.empty());
  std::vector<int32_t> ids;
  for (const TokenLogprob& entry : Next(two, logits).top) ids.push_back(entry.token);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 3, 2}));
  EXPECT_EQ(Next(more, logits).top.size(), 4u);
}

TEST(SamplingParams, ValidateNamesTheField) {
  EXPECT_TRUE(SamplingParams{}.Validate(10).ok());
  EXPECT_TRUE((SamplingParams{.temperature = 2.0f,
                              .top_k = 40,
                              .top_p = 0.9f,
                              .min_p = 0.1f,
                              .repetition_penalty = 1.1f,
                              .presence_penalty = -1.0f,
                              .frequency_penalty = 1.0f,
                              .logit_bias = {{9, -100.0f}},
                              .top_logprobs = 5})
                  .Validate(10)
                  .ok());
  const std::pair<std::string, SamplingParams> bad[] = {
      {"temperature", {.temperature = -0.1f}},
      {"temperature", {.temperature = kNaN}},
      {"temperature", {.temperature = kInfinity}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 0.0f}},
      {"top_p", {.top_p = 1.1f}},
      {"top_p", {.top_p = kNaN}},
      {"min_p", {.min_p = -0.1f}},
      {"min_p", {.min_p = 1.5f}},
      {"repetition_penalty", {.repetition_penalty = 0.0f}},
      {"repetition_penalty", {.repetition_penalty = kInfinity}},
      {"presence_penalty", {.presence_penalty = kNaN}},
      {"frequency_penalty", {.frequency_penalty = 1e9f}},
      {"logit_bias", {.logit_bias = {{10, 1.0f}}}},
      {"logit_bias", {.logit_bias = {{-1, 1.0f}}}},
      {"logit_bias", {.logit_bias = {{1, kNaN}}}},
      {"top_logprobs", {.top_logprobs = -2}},
      {"top_logprobs", {.top_logprobs = 100000}},
  };
  for (const auto& [field, params] : bad) {
    const absl::Status status = params.Validate(10);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    ASSERT_TRUE(GetErrorInfo(status).has_value()) << field;
    EXPECT_EQ(GetErrorInfo(status)->reason, "INVALID_SAMPLING_PARAMS");
    EXPECT_EQ(GetErrorInfo(status)->metadata.at("field"), field);
  }
}

}  // namespace
}  // namespace kvpareto
