// Teacher forcing through the engine: the decode path and the prefill path agree, chunks do not
// matter to a bf16 cache, and quantized caches are really read.
#include <cmath>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

class ScoreTest : public EngineTest {
 protected:
  // Logits [tokens, vocab].
  std::vector<float> Score(int tokens, const std::string& config, int64_t decode_from = -1) {
    const auto parsed = KvConfig::Parse(config);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    std::vector<float> all;
    const absl::Status status = engine_->Score(
        Tokens(tokens, 5), *parsed, {.decode_from = decode_from},
        [&](int64_t first, std::span<const float> logits) {
          EXPECT_EQ(first * engine_->model().config.vocab, static_cast<int64_t>(all.size()));
          all.insert(all.end(), logits.begin(), logits.end());
        });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(all.size(), size_t(tokens) * engine_->model().config.vocab);
    return all;
  }

  static double MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - b[i]));
    return worst;
  }
};

constexpr char kBf16[] = "k=bf16 v=bf16 sink=0 recent=0 chunk=256";

// The model's logits have a standard deviation of about 1; bf16 keys and values carry a relative
// error of 2^-9, and so do all products of the AMX path.
TEST_F(ScoreTest, PathsAndChunksAgreeOnABf16Cache) {
  for (const char* isa : {"scalar", "auto"}) {
    SCOPED_TRACE(isa);
    options_.isa = isa;
    Start();
    const auto reference = Score(200, kBf16);
    EXPECT_LT(MaxDifference(Score(200, "k=bf16 v=bf16 sink=16 recent=0 chunk=64"), reference),
              0.05);
    EXPECT_LT(MaxDifference(Score(200, kBf16, 0), reference), 0.05);
    EXPECT_LT(MaxDifference(Score(200, kBf16, 100), reference), 0.05);
  }
}

// Where a value lies close to the border of two codes, rounding differences between backends flip
// the code: so a fast backend may differ from the scalar one by a fraction of what quantization
// itself changes.
TEST_F(ScoreTest, ScalarAndFastBackendsAgree) {
  options_.isa = "scalar";
  Start();
  std::vector<std::vector<float>> scalar;
  const char* const configs[] = {kBf16, "k=int8-channel v=int8-token sink=16 recent=0 chunk=64",
                                 "k=int4-channel v=int4-token-g32 sink=4 recent=64 chunk=128"};
  for (const char* config : configs) scalar.push_back(Score(300, config));
  options_.isa = "auto";
  Start();
  for (int i = 0; i < 3; ++i) {
    const double quantization = MaxDifference(scalar[i], scalar[0]);
    EXPECT_LT(MaxDifference(Score(300, configs[i]), scalar[i]), 0.05 + 0.3 * quantization)
        << configs[i] << " differs from bf16 by " << quantization;
  }
}

TEST_F(ScoreTest, QuantizedCachesAreReadAndFewerBitsErrMore) {
  Start();
  const auto reference = Score(400, "k=bf16 v=bf16 sink=0 recent=0 chunk=64");
  const double int8 =
      MaxDifference(Score(400, "k=int8-token v=int8-token sink=0 recent=0 chunk=64"), reference);
  const double int4 =
      MaxDifference(Score(400, "k=int4-token v=int4-token sink=0 recent=0 chunk=64"), reference);
  const double int2 =
      MaxDifference(Score(400, "k=int2-token v=int2-token sink=0 recent=0 chunk=64"), reference);
  EXPECT_GT(int8, 0.0);
  EXPECT_GT(int4, 2 * int8);
  EXPECT_GT(int2, int4);
}

TEST_F(ScoreTest, RefusesWhatDoesNotFit) {
  options_.kv_capacity_bytes = uint64_t{1} << 20;
  Start();
  const auto config = KvConfig::Parse(kBf16);
  ASSERT_TRUE(config.ok());
  const auto ignore = [](int64_t, std::span<const float>) {};
  EXPECT_EQ(engine_->Score(Tokens(2000, 1), *config, {}, ignore).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(engine_->Score({}, *config, {}, ignore).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvpareto
