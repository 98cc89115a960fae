// Teacher forcing through the engine: the decode path and the prefill path agree, chunks do not
// matter to a bf16 cache, and quantized caches are really read.
#include <cmath>
#include <utility>

#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

class ScoreTest : public EngineTest {
 protected:
  // Logits [tokens, vocab], or of those positions that the options ask for.
  std::vector<float> Score(int tokens, const std::string& config, int64_t decode_from = -1) {
    return Score(tokens, config, ScoreOptions{.decode_from = decode_from});
  }
  std::vector<float> Score(int tokens, const std::string& config, const ScoreOptions& options) {
    const auto parsed = KvConfig::Parse(config);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const size_t vocab = engine_->model().config.vocab;
    std::vector<float> all;
    int64_t next = options.logits_from;
    const absl::Status status = engine_->Score(
        Tokens(tokens, 5), *parsed, options, [&](int64_t first, std::span<const float> logits) {
          EXPECT_EQ(first, next);
          next += static_cast<int64_t>(logits.size() / vocab) * options.logits_stride;
          all.insert(all.end(), logits.begin(), logits.end());
        });
    EXPECT_TRUE(status.ok()) << config << ": " << status;
    EXPECT_GE(next, tokens);
    return all;
  }

  static double Rms(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    return std::sqrt(sum / static_cast<double>(a.size()));
  }

  static double MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - b[i]));
    return worst;
  }
};

constexpr char kBf16[] = "k=bf16 v=bf16 sink=0 recent=0 chunk=256";

// The model's logits have a standard deviation of about 1; bf16 keys and values carry a relative
// error of 2^-9, and so do both factors of all products of prefill on AVX512-BF16 and AMX.
constexpr double kBf16CacheError = 0.05;
constexpr double kBf16ProductsError = 0.1;

TEST_F(ScoreTest, PathsAndChunksAgreeOnABf16Cache) {
  for (const auto& [isa, error] :
       {std::pair("scalar", kBf16CacheError), std::pair("auto", kBf16ProductsError)}) {
    SCOPED_TRACE(isa);
    options_.isa = isa;
    Start();
    const auto reference = Score(200, kBf16);
    EXPECT_LT(MaxDifference(Score(200, "k=bf16 v=bf16 sink=16 recent=0 chunk=64"), reference),
              error);
    EXPECT_LT(MaxDifference(Score(200, kBf16, 0), reference), error);
    EXPECT_LT(MaxDifference(Score(200, kBf16, 100), reference), error);
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
    EXPECT_LT(MaxDifference(Score(300, configs[i]), scalar[i]),
              kBf16ProductsError + 0.3 * quantization)
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

// Windows that end inside blocks, blocks that are sealed at once or late, codecs of every axis: in
// each case some queries of a step would read a sealed block if steps ended elsewhere.
TEST_F(ScoreTest, DecodingManyTokensAStepIsDecodingOneByOne) {
  for (const char* isa : {"scalar", "auto"}) {
    options_.isa = isa;
    Start();
    for (const char* config :
         {"k=int4-channel v=int4-token-g32 sink=4 recent=100 chunk=64",
          "k=int8-token v=int2-token sink=16 recent=0 chunk=64",
          "k=int8-channel v=int4-token sink=0 recent=33 chunk=128 layers=1:bf16/int8-token",
          "k=bf16 v=bf16 sink=16 recent=0 chunk=64", "k=f32 v=f32 sink=0 recent=0 chunk=64"}) {
      SCOPED_TRACE(std::string(isa) + " " + config);
      for (int64_t from : {0, 75}) {
        const auto one_by_one =
            Score(310, config, ScoreOptions{.decode_from = from, .max_decode_rows = 1});
        EXPECT_EQ(Score(310, config, ScoreOptions{.decode_from = from}), one_by_one);
        EXPECT_EQ(Score(310, config, ScoreOptions{.decode_from = from, .max_decode_rows = 7}),
                  one_by_one);
        EXPECT_NE(Score(310, config), one_by_one);
      }
    }
  }
}

TEST_F(ScoreTest, StrideLeavesPositionsOut) {
  Start();
  const std::string config = "k=int4-channel v=int4-token sink=4 recent=0 chunk=64";
  const size_t vocab = engine_->model().config.vocab;
  for (int64_t decode_from : {-1, 0, 120}) {
    const auto all = Score(200, config, decode_from);
    std::vector<float> expected;
    for (size_t position = 50; position < 200; position += 7) {
      const auto row = all.begin() + static_cast<std::ptrdiff_t>(position * vocab);
      expected.insert(expected.end(), row, row + static_cast<std::ptrdiff_t>(vocab));
    }
    EXPECT_EQ(
        Score(200, config, {.decode_from = decode_from, .logits_from = 50, .logits_stride = 7}),
        expected);
  }
}

constexpr char kF32[] = "k=f32 v=f32 sink=0 recent=0 chunk=64";

TEST_F(ScoreTest, EncodingOnWriteKeepsWhatTheCodecKeeps) {
  options_.isa = "scalar";  // fast kernels multiply bf16 tiles and floats in different ways
  Start();
  const auto f32 = Score(300, kF32, 0);
  EXPECT_EQ(Score(300, kF32, {.encode_on_write = true}), f32);
  EXPECT_EQ(Score(300, kBf16, {.encode_on_write = true}), Score(300, kBf16, 0));
  // All tokens are exact: in the sink, or in the window.
  EXPECT_EQ(Score(300, "k=int2-token v=int2-token sink=300 recent=0", {.encode_on_write = true}),
            f32);
  EXPECT_EQ(Score(300, "k=int2-token v=int2-token sink=0 recent=300", {.encode_on_write = true}),
            f32);
}

TEST_F(ScoreTest, EncodingOnWriteIsReadEverywhereButInTheWindows) {
  Start();
  const auto f32 = Score(300, kF32, 0);
  const auto error = [&](const std::string& config) {
    return Rms(Score(300, config, {.encode_on_write = true}), f32);
  };
  const double int4 = error("k=int4-token v=int4-token sink=0 recent=0 chunk=128");
  EXPECT_GT(int4, 3 * error("k=int8-token v=int8-token sink=0 recent=0 chunk=128"));
  EXPECT_GT(error("k=int2-token v=int2-token sink=0 recent=0 chunk=128"), 2 * int4);
  EXPECT_LT(error("k=int4-token v=int4-token sink=16 recent=100 chunk=128"), int4);
  // The first query already reads its own key and value encoded.
  const auto first =
      Score(1, "k=int2-token v=int2-token sink=0 recent=0", ScoreOptions{.encode_on_write = true});
  EXPECT_NE(first, Score(1, kF32, 0));
  EXPECT_EQ(
      Score(1, "k=int2-token v=int2-token sink=0 recent=1", ScoreOptions{.encode_on_write = true}),
      Score(1, kF32, 0));
  // The step's length means nothing to codecs that keep no means.
  EXPECT_EQ(Score(300, "k=int4-token v=int4-token sink=16 recent=100 chunk=64",
                  ScoreOptions{.encode_on_write = true}),
            Score(300, "k=int4-token v=int4-token sink=16 recent=100 chunk=256",
                  ScoreOptions{.encode_on_write = true}));
}

// The kernels of prefill read what decoding reads: they differ from it by rounding, not by what a
// query in a chunk reads exactly that a decoded one does not.
TEST_F(ScoreTest, PrefillArithmeticReadsTheSame) {
  options_.isa = "scalar";  // bf16 products would hide it in a model this small
  Start();
  for (const char* config : {"k=int2-channel v=int2-token sink=4 recent=0 chunk=256",
                             "k=int2-token v=int2-token sink=0 recent=100 chunk=256"}) {
    SCOPED_TRACE(config);
    const auto decoded = Score(310, config, 0);
    const auto fast =
        Score(310, config, ScoreOptions{.decode_from = 0, .prefill_arithmetic = true});
    const double difference = Rms(fast, decoded);
    EXPECT_LT(difference, 0.1 * Rms(Score(310, kF32, 0), decoded));
    EXPECT_GT(Rms(Score(310, config), decoded), 5 * difference);
  }
  for (const char* config : {"k=int2-token v=int2-token sink=4 recent=0 chunk=128",
                             "k=int2-token v=int2-token sink=4 recent=70 chunk=128"}) {
    SCOPED_TRACE(config);
    const auto decoded = Score(310, config, ScoreOptions{.encode_on_write = true});
    const auto fast =
        Score(310, config, ScoreOptions{.encode_on_write = true, .prefill_arithmetic = true});
    EXPECT_LT(Rms(fast, decoded), 0.1 * Rms(Score(310, kF32, 0), decoded));
  }
}

TEST_F(ScoreTest, RefusesOptionsThatMeanNothing) {
  Start();
  const auto reason = [&](const char* text, const ScoreOptions& options) {
    const auto config = KvConfig::Parse(text);
    EXPECT_TRUE(config.ok());
    return Reason(
        engine_->Score(Tokens(10, 1), *config, options, [](int64_t, std::span<const float>) {}));
  };
  EXPECT_EQ(reason("k=int4-channel v=int4-token", {.encode_on_write = true}), "CODEC_NEEDS_BLOCKS");
  EXPECT_EQ(reason("k=int4-token v=int4-block", {.encode_on_write = true}), "CODEC_NEEDS_BLOCKS");
  EXPECT_EQ(reason(kBf16, {.logits_stride = 0}), "SCORE_OPTION_INVALID");
  EXPECT_EQ(reason(kBf16, {.max_decode_rows = 0}), "SCORE_OPTION_INVALID");
  EXPECT_EQ(reason(kBf16, {.max_decode_rows = 65}), "SCORE_OPTION_INVALID");
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
