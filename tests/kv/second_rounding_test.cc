// What encoding decoded values again by a smaller codec adds to the error of encoding them once.
#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "engine/kv/codec.h"

namespace kvpareto::kv {
namespace {

constexpr int kHeadDim = 64, kTiles = 50;

using Tile = std::vector<float>;  // [kBlockTokens, kHeadDim]

Tile RoundTrip(std::string_view codec, const Tile& tile) {
  const CodecId id = FindCodec(codec).value();
  std::vector<std::byte> encoded(TileBytes(id, Role::kKey, kHeadDim));
  EncodeTile(id, Role::kKey, kHeadDim, {}, tile.data(), encoded.data());
  Tile decoded(tile.size());
  DecodeTile(id, Role::kKey, kHeadDim, {}, encoded.data(), decoded.data());
  return decoded;
}

double ErrorPower(const Tile& a, const Tile& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i] - b[i]} * double{a[i] - b[i]};
  return sum;
}

// Mean squared error of both encodings one after the other, over that of the second one alone.
double ErrorRatio(std::string_view first, std::string_view second) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0.5f, 1.0f);
  double twice = 0.0, once = 0.0;
  for (int i = 0; i < kTiles; ++i) {
    Tile tile(size_t{kBlockTokens} * kHeadDim);
    for (float& x : tile) x = normal(random);
    twice += ErrorPower(tile, RoundTrip(second, RoundTrip(first, tile)));
    once += ErrorPower(tile, RoundTrip(second, tile));
  }
  return twice / once;
}

// In the same groups the steps of b bits are an odd number (2^a - 1) / (2^b - 1) of those of a bits
// where b divides a: every finer step lies in one coarser one, so the second rounding is the only
// one.
TEST(SecondRoundingTest, IsTheOnlyOneWhereStepsLieInSteps) {
  for (const auto& [first, second] :
       {std::pair("int8-channel", "int4-channel"), std::pair("int8-token", "int4-token"),
        std::pair("int8-token-g32", "int4-token-g32"), std::pair("int8-token", "int2-token"),
        std::pair("int4-channel", "int2-channel"), std::pair("int6-token", "int3-token")}) {
    EXPECT_NEAR(ErrorRatio(first, second), 1.0, 0.005) << first << " then " << second;
  }
}

// Elsewhere the errors are independent: their powers add up, as the squares of the steps.
TEST(SecondRoundingTest, AddsTheFirstErrorElsewhere) {
  EXPECT_NEAR(ErrorRatio("int8-channel", "int6-channel"), 1.0 + 63.0 * 63 / (255.0 * 255), 0.01);
  EXPECT_NEAR(ErrorRatio("int6-token", "int4-token"), 1.0 + 15.0 * 15 / (63.0 * 63), 0.01);
  // Other groups have other ranges: of 64 values 1.15 times that of 32.
  EXPECT_NEAR(ErrorRatio("int8-token", "int4-token-g32"), 1.0 + 1.15 * 1.15 / (17.0 * 17), 0.002);
}

}  // namespace
}  // namespace kvpareto::kv
