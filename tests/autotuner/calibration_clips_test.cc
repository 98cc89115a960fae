#include "autotuner/calibration_clips.h"

#include <algorithm>
#include <limits>

#include "gtest/gtest.h"
#include "tests/support/random.h"

namespace kvpareto::tune {
namespace {

std::vector<RowMatrix> GaussianTiles(int count, int dim) {
  support::Random random(4);
  std::vector<RowMatrix> tiles(count, RowMatrix(kv::kBlockTokens, dim));
  for (RowMatrix& tile : tiles) {
    for (float& x : tile.reshaped()) x = random.Gauss();
  }
  return tiles;
}

double Error(kv::CodecId codec, kv::Role role, float clip, std::span<const RowMatrix> tiles) {
  const int dim = static_cast<int>(tiles[0].cols());
  alignas(kv::kRegionAlignment) static std::byte encoded[1 << 16];
  RowMatrix decoded(kv::kBlockTokens, dim);
  double error = 0.0;
  for (const RowMatrix& tile : tiles) {
    kv::EncodeTile(codec, role, dim, {.clip = clip}, tile.data(), encoded);
    kv::DecodeTile(codec, role, dim, {.clip = clip}, encoded, decoded.data());
    error += (decoded - tile).cast<double>().squaredNorm();
  }
  return error;
}

class ClipTest : public testing::TestWithParam<std::string> {};

TEST_P(ClipTest, HasTheLeastErrorOfAllRatios) {
  const kv::CodecId codec = *kv::FindCodec(GetParam());
  const std::vector<RowMatrix> tiles = GaussianTiles(2, 64);
  for (kv::Role role : {kv::Role::kKey, kv::Role::kValue}) {
    const float best = BestClip(codec, role, tiles);
    for (float clip : kClipRatios) {
      EXPECT_LE(Error(codec, role, best, tiles), Error(codec, role, clip, tiles))
          << best << " against " << clip;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, ClipTest,
                         testing::Values("int8-token", "int4-token-g32", "int4-token",
                                         "int4-channel", "int3-token", "int2-token-g32",
                                         "int2-channel", "int2-block"));

// Two bits for 4096 Gaussian samples: their extremes, near +-3.7, would waste most of the codes
// (the best uniform quantizer with four levels ends at +-1.5).
TEST(ClipTest, CutsTheTailsOfCoarseCodes) {
  const std::vector<RowMatrix> tiles = GaussianTiles(2, 64);
  EXPECT_LT(BestClip(*kv::FindCodec("int2-block"), kv::Role::kKey, tiles), 0.7f);
}

TEST(ClipTest, KeepsWhatNeedsNoClip) {
  std::vector<RowMatrix> tiles = {RowMatrix::Constant(kv::kBlockTokens, 64, 3.0f)};
  EXPECT_EQ(BestClip(*kv::FindCodec("int4-token"), kv::Role::kKey, tiles), 1.0f);
  for (Eigen::Index i = 0; i < tiles[0].size(); i += 2) tiles[0].data()[i] = -1.0f;
  EXPECT_EQ(BestClip(*kv::FindCodec("int2-token"), kv::Role::kValue, tiles), 1.0f);
}

TEST(ClipTest, CodecsAreThoseThatStoreScales) {
  const std::vector<kv::CodecId> codecs = ClippedCodecs(64);
  const auto has = [&](const char* name) {
    return std::count(codecs.begin(), codecs.end(), *kv::FindCodec(name)) == 1;
  };
  EXPECT_TRUE(has("int4-token") && has("int2-channel") && has("int3-token-g32"));
  EXPECT_FALSE(has("bf16") || has("int4-tensor") || has("int4-token-g128"));
}

}  // namespace
}  // namespace kvpareto::tune
