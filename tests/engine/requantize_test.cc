// What re-encoding a running sequence's cache does to its predictions.
#include <cmath>
#include <vector>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

class RequantizeTest : public EngineTest {
 protected:
  static constexpr int kTokens = 700, kPrompt = 500;

  static KvConfig Config(const std::string& text) {
    const auto config = KvConfig::Parse(text);
    EXPECT_TRUE(config.ok()) << config.status();
    return *config;
  }

  // Logits [kTokens - kPrompt, vocab] of decoded tokens.
  std::vector<float> Score(const std::string& config, const std::string& later = "") {
    ScoreOptions options{.decode_from = kPrompt, .logits_from = kPrompt};
    if (!later.empty()) {
      options.requantize_at = kPrompt;
      options.requantize_to = Config(later);
    }
    std::vector<float> all;
    const absl::Status status = engine_->Score(
        Tokens(kTokens, 5), Config(config), options, [&](int64_t, std::span<const float> logits) {
          all.insert(all.end(), logits.begin(), logits.end());
        });
    EXPECT_TRUE(status.ok()) << config << " to " << later << ": " << status;
    return all;
  }

  // Mean KL(p || q) in nats.
  double Divergence(const std::vector<float>& p, const std::vector<float>& q) const {
    const size_t vocab = engine_->model().config.vocab;
    const auto log_sum = [&](const float* row) {
      double sum = 0;
      for (size_t i = 0; i < vocab; ++i) sum += std::exp(double{row[i]});
      return std::log(sum);
    };
    double total = 0;
    for (size_t at = 0; at < p.size(); at += vocab) {
      const double p_sum = log_sum(&p[at]), q_sum = log_sum(&q[at]);
      for (size_t i = at; i < at + vocab; ++i) {
        const double log_p = p[i] - p_sum, log_q = q[i] - q_sum;
        total += std::exp(log_p) * (log_p - log_q);
      }
    }
    return total / (static_cast<double>(p.size()) / static_cast<double>(vocab));
  }
};

constexpr char kBf16[] = "k=bf16 v=bf16 sink=16 recent=0 chunk=128";
constexpr char kInt8[] = "k=int8-channel v=int8-token sink=16 recent=0 chunk=128";
constexpr char kInt4[] = "k=int4-channel v=int4-token-g32 sink=16 recent=0 chunk=128";

// From bf16 the blocks become what they would have been from the start; the prompt's own queries
// have read better keys. From codes there is a second rounding (tests/kv/second_rounding_test.cc).
// The quarter is for the few positions of this text; scripts/verify_sharing.sh takes thousands.
TEST_F(RequantizeTest, LosesNoMoreThanTheSmallerConfigFromTheStart) {
  Start();
  const std::vector<float> reference = Score(kBf16);
  for (const auto& [from, to] :
       {std::pair(kBf16, kInt8), std::pair(kBf16, kInt4), std::pair(kInt8, kInt4)}) {
    const double bound = Divergence(reference, Score(to));
    const double changed = Divergence(Score(from), Score(from, to));
    EXPECT_GT(changed, 0.0) << from << " to " << to << ": nothing has happened";
    EXPECT_LE(changed, 1.25 * bound) << from << " to " << to;
  }
}

TEST_F(RequantizeTest, RefusesWhatDoesNotContinueTheConfig) {
  Start();
  for (const char* later :
       {kBf16, "k=int4-channel v=int4-token sink=0 recent=0 chunk=128",
        "k=int4-channel v=int4-token sink=16 recent=64 chunk=128",
        "k=int4-channel v=int4-token sink=16 recent=0 chunk=128 krot=hadamard"}) {
    ScoreOptions options{.decode_from = 300};
    options.requantize_at = 300;
    options.requantize_to = Config(later);
    const absl::Status status =
        engine_->Score(Tokens(320, 5), Config(kInt8), options, [](int64_t, auto) {});
    EXPECT_EQ(Reason(status), "SCORE_OPTION_INVALID") << later;
    EXPECT_EQ(engine_->Stats().arena_allocated_bytes, 0u);
  }
}

}  // namespace
}  // namespace kvpareto
