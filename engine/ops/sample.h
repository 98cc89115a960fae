// How the next token is chosen from logits: the definition for every backend, in integers where
// sums are compared, so that a result does not depend on the order of summation. Device code calls
// the constexpr functions; compilers must not fuse their roundings (-ffp-contract=off).
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <span>

namespace kvpareto {

struct TokenCount {
  int32_t token = 0;
  int32_t count = 0;
};
struct TokenBias {
  int32_t token = 0;
  float bias = 0.0f;
};

// The next token of one row of logits. In this order: penalties, bias, temperature, top-k, top-p
// (of what top-k left), min-p (relative to the most likely token).
struct SampleRow {
  int row = 0;                         // of the logits
  float temperature = 0.0f;            // 0: greedy (of equal logits the lowest id)
  int top_k = 0;                       // 0: off
  float top_p = 1.0f;                  // 1: off
  float min_p = 0.0f;                  // 0: off
  float repetition_penalty = 1.0f;     // of tokens in `seen`
  float presence_penalty = 0.0f;       // of tokens in `counts`
  float frequency_penalty = 0.0f;      // of these, per count
  uint64_t random = 0;                 // uniform bits
  std::span<const uint32_t> seen;      // a bit per token, lowest first; empty: none
  std::span<const TokenCount> counts;  // each token once
  std::span<const TokenBias> biases;   // each token once
};

// Instead of a token: NaN or +infinity among the logits, or nothing but -infinity.
inline constexpr int32_t kNotFinite = -1;

// Orders tokens: the larger logit first (greater), of equal ones the lower id.
constexpr uint64_t TokenRank(float logit, int32_t token) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes 0
  const uint32_t ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | static_cast<uint32_t>(~token);
}
constexpr int32_t TokenOf(uint64_t rank) { return ~static_cast<int32_t>(rank); }
constexpr float LogitOf(uint64_t rank) {
  const uint32_t ordered = static_cast<uint32_t>(rank >> 32);
  return std::bit_cast<float>(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// log2(e) / temperature.
constexpr double WeightScale(float temperature) { return 1.4426950408889634 / temperature; }

// exp((logit - max) / temperature) in units of 2^-40, rounded down: 0 where it is less than one.
// The sum over a vocabulary of up to 2^23 tokens fits.
constexpr uint64_t TokenWeight(float logit, float max, double scale) {
  const double x = (static_cast<double>(logit) - max) * scale;
  if (!(x > -41.0)) return 0;
  const int whole = static_cast<int>(x - 0.5);
  // 2^x = 2^whole e^f, |f| <= ln(2) / 2: the series to the 11th power is exact to 1e-14.
  const double f = (x - whole) * 0.6931471805599453;
  double e = 1.0 / 39916800.0;
  constexpr double kInverseFactorials[] = {
      1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
      1.0 / 24.0,      1.0 / 6.0,      0.5,           1.0,          1.0};
  for (const double factor : kInverseFactorials) e = e * f + factor;
  return static_cast<uint64_t>(e * 0x1p52) >> (12 - whole);
}

// What the most likely tokens must weigh together to hold `top_p` of `total`.
constexpr uint64_t NucleusWeight(float top_p, uint64_t total) {
  const double part = static_cast<double>(top_p) * static_cast<double>(total);
  const auto below = static_cast<uint64_t>(part);
  return static_cast<double>(below) < part || below == 0 ? below + 1 : below;
}

// Where the draw falls in [0, total): on the token, in order of ids, whose weight goes beyond it.
constexpr uint64_t DrawPoint(uint64_t random, uint64_t total) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(random) * total >> 64);
}

constexpr float WithRepetitionPenalty(float logit, float penalty) {
  return logit > 0.0f ? logit / penalty : logit * penalty;
}
constexpr float WithCountPenalties(float logit, float presence, float frequency, int count) {
  return logit - (presence + frequency * static_cast<float>(count));
}

// How far below the largest logit min-p still takes tokens, as a number <= 0; temperature > 0.
float MinLogitOffset(const SampleRow& how);

// The token that `how` chooses from `logits` [vocab], or kNotFinite. Penalties and biases are
// applied in place.
int32_t SampleToken(std::span<float> logits, const SampleRow& how);

}  // namespace kvpareto
