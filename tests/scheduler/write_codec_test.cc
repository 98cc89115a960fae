// Rows that are encoded when they are written: against the codec's definition, one token at a time.
#include "engine/scheduler/write_codec.h"

#include <cmath>
#include <random>

#include "gtest/gtest.h"

namespace kvpareto {
namespace {

constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 64;
constexpr int kCols = (kHeads + 2 * kKvHeads) * kHeadDim;

ModelConfig Model() {
  ModelConfig model;
  model.layers = 2;
  model.heads = kHeads;
  model.kv_heads = kKvHeads;
  model.head_dim = kHeadDim;
  return model;
}

// Rows whose channels have means of their own, as keys have.
std::vector<float> Rows(int rows, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> qkv(size_t(rows) * kCols);
  for (size_t i = 0; i < qkv.size(); ++i) {
    qkv[i] = normal(random) + 10.0f * std::sin(static_cast<float>(i % kCols));
  }
  return qkv;
}

WriteCodec Make(const std::string& text) {
  auto codec = WriteCodec::Create(*KvConfig::Parse(text), Model(), nullptr);
  EXPECT_TRUE(codec.ok()) << codec.status();
  return *std::move(codec);
}

// What the codec makes of one vector that stands alone in a tile.
std::vector<float> Coded(const std::string& name, kv::Role role, std::vector<float> vector) {
  const kv::CodecId codec = *kv::FindCodec(name);
  vector.resize(size_t(kv::kBlockTokens) * kHeadDim);
  std::vector<std::byte> encoded(kv::TileBytes(codec, role, kHeadDim));
  kv::EncodeTile(codec, role, kHeadDim, {}, vector.data(), encoded.data());
  kv::DecodeTile(codec, role, kHeadDim, {}, encoded.data(), vector.data());
  vector.resize(kHeadDim);
  return vector;
}

std::vector<float> Vector(const std::vector<float>& qkv, int row, int head) {
  const auto begin = qkv.begin() + row * kCols + head * kHeadDim;
  return {begin, begin + kHeadDim};
}

TEST(WriteCodecTest, EveryVectorBehindTheSinkIsWhatTheCodecMakesOfIt) {
  WriteCodec codec = Make("k=int4-token-g32 v=int8-token sink=3 recent=0");
  constexpr int kRows = 100;
  const std::vector<float> before = Rows(kRows, 1);
  std::vector<float> after = before;
  codec.Apply(1, 0, after);
  for (int row = 0; row < kRows; ++row) {
    for (int head = 0; head < kHeads + 2 * kKvHeads; ++head) {
      std::vector<float> expected = Vector(before, row, head);
      const bool key = head >= kHeads && head < kHeads + kKvHeads;
      if (row >= 3 && key) expected = Coded("int4-token-g32", kv::Role::kKey, expected);
      if (row >= 3 && head >= kHeads + kKvHeads) {
        expected = Coded("int8-token", kv::Role::kValue, expected);
      }
      ASSERT_EQ(Vector(after, row, head), expected) << "row " << row << " head " << head;
    }
  }
}

TEST(WriteCodecTest, SmoothTakesOutTheMeanOfAllTokensSoFar) {
  WriteCodec codec = Make("k=int4-token-g64-smooth v=int4-token-g64 sink=0 recent=0");
  WriteCodec plain = Make("k=int4-token-g64 v=int4-token-g64 sink=0 recent=0");
  const std::vector<float> first = Rows(10, 1), second = Rows(70, 2);
  std::vector<float> written = first;
  codec.Apply(0, 0, written);
  written = second;
  codec.Apply(0, 10, written);
  std::vector<float> unsmoothed = second;
  plain.Apply(0, 10, unsmoothed);

  double smooth_error = 0.0, plain_error = 0.0;
  for (int head = kHeads; head < kHeads + kKvHeads; ++head) {
    std::vector<double> mean(kHeadDim);
    for (int c = 0; c < kHeadDim; ++c) {
      for (int row = 0; row < 10; ++row) mean[c] += first[row * kCols + head * kHeadDim + c] / 80;
      for (int row = 0; row < 70; ++row) mean[c] += second[row * kCols + head * kHeadDim + c] / 80;
    }
    for (int row = 0; row < 70; ++row) {
      const std::vector<float> x = Vector(second, row, head);
      std::vector<float> centred(kHeadDim);
      for (int c = 0; c < kHeadDim; ++c) centred[c] = static_cast<float>(x[c] - mean[c]);
      const std::vector<float> coded = Coded("int4-token-g64", kv::Role::kKey, centred);
      const auto [low, high] = std::minmax_element(centred.begin(), centred.end());
      const float step = (*high - *low) / 15;
      for (int c = 0; c < kHeadDim; ++c) {
        const float y = written[row * kCols + head * kHeadDim + c];
        // A mean rounded to fp16 may move a value across the border of two codes.
        ASSERT_NEAR(y, coded[c] + mean[c], 1.1f * step);
        smooth_error += std::abs(y - x[c]);
        plain_error += std::abs(unsmoothed[row * kCols + head * kHeadDim + c] - x[c]);
      }
    }
  }
  EXPECT_LT(smooth_error, 0.5 * plain_error);
  // Values have no mean to take out here.
  EXPECT_EQ(Vector(written, 69, kHeads + kKvHeads), Vector(unsmoothed, 69, kHeads + kKvHeads));
}

TEST(WriteCodecTest, LayersAndStepsKeepMeansOfTheirOwn) {
  WriteCodec once = Make("k=int8-token-g64-smooth v=bf16 sink=0 recent=0");
  WriteCodec both = Make("k=int8-token-g64-smooth v=bf16 sink=0 recent=0");
  const std::vector<float> rows = Rows(20, 3);
  std::vector<float> other = Rows(20, 4), a = rows, b = rows;
  both.Apply(0, 0, other);
  both.Apply(1, 0, a);
  once.Apply(1, 0, b);
  EXPECT_EQ(a, b);
}

TEST(WriteCodecTest, CodecsThatShareScalesBetweenTokensAreRefused) {
  for (const char* name : {"int4-channel", "int8-block", "int2-dual"}) {
    const auto config = KvConfig::Parse(std::string("k=bf16 v=") + name);
    ASSERT_TRUE(config.ok()) << config.status();
    const auto codec = WriteCodec::Create(*config, Model(), nullptr);
    ASSERT_FALSE(codec.ok());
    EXPECT_EQ(GetErrorInfo(codec.status())->reason, "CODEC_NEEDS_BLOCKS");
  }
}

}  // namespace
}  // namespace kvpareto
