// Every codec of the list, at every head size and role: sizes, round trips, hostile values.
#include "engine/kv/codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "engine/kv/codec_list.h"

namespace kvpareto::kv {
namespace {

constexpr int kHeadDims[] = {64, 80, 96, 128, 256};

using Case = std::tuple<CodecId, int, Role>;

std::vector<Case> SupportedCases() {
  std::vector<Case> cases;
  for (int i = 0; i < NumCodecs(); ++i) {
    for (int head_dim : kHeadDims) {
      if (!CodecSupports(CodecId(i), head_dim)) continue;  // codec_list_test.cc knows which
      for (Role role : {Role::kKey, Role::kValue}) cases.emplace_back(CodecId(i), head_dim, role);
    }
  }
  return cases;
}

// Dirty memory aligned as tiles are.
struct AlignedTile {
  explicit AlignedTile(size_t bytes) : storage(bytes + kRegionAlignment, std::byte{0xa5}) {
    const auto address = reinterpret_cast<uintptr_t>(storage.data());
    data = storage.data() + (AlignUp(address) - address);
  }
  AlignedTile(AlignedTile&&) = default;  // moving a vector keeps its address
  AlignedTile& operator=(AlignedTile&&) = default;

  std::vector<std::byte> storage;
  std::byte* data = nullptr;
};

// The parameters each element was stored with, through the list's type.
std::vector<QuantParams> ParamsPerElement(CodecId id, int head_dim, StaticRange range,
                                          const std::byte* encoded) {
  std::vector<QuantParams> params(kBlockTokens * head_dim);
  VisitCodec(id, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    if constexpr (Codec::kBits != 16) {
      for (int t = 0; t < kBlockTokens; ++t) {
        for (int c = 0; c < head_dim; ++c) {
          params[t * head_dim + c] =
              Codec::LoadParams(head_dim, range, encoded, Codec::Policy::GroupOf(t, c, head_dim));
        }
      }
    }
  });
  return params;
}

StaticRange RangeOf(const std::vector<float>& tile) {
  const auto [low, high] = std::minmax_element(tile.begin(), tile.end());
  return {*low, *high};
}

class CodecTest : public testing::TestWithParam<Case> {
 protected:
  CodecId codec() const { return std::get<0>(GetParam()); }
  int head_dim() const { return std::get<1>(GetParam()); }
  Role role() const { return std::get<2>(GetParam()); }
  int elements() const { return kBlockTokens * head_dim(); }
  bool is_bf16() const { return GetCodecInfo(codec()).granularity == Granularity::kNone; }

  std::vector<float> RoundTrip(const std::vector<float>& tile, StaticRange range) {
    encoded_ = AlignedTile(TileBytes(codec(), role(), head_dim()) + 1);
    EncodeTile(codec(), role(), head_dim(), range, tile.data(), encoded_.data);
    EXPECT_EQ(encoded_.data[TileBytes(codec(), role(), head_dim())], std::byte{0xa5})
        << "wrote past the tile";
    std::vector<float> decoded(tile.size(), std::nanf(""));
    DecodeTile(codec(), role(), head_dim(), range, encoded_.data, decoded.data());
    return decoded;
  }

  // Half a stored step, plus float rounding in units of a step: x / s and (q - z) * s are each off
  // by at most 2^-24 relative, and |x / s|, |q - z| <= 32767 + 255: 2 * 2^-9; (max - min) / levels
  // adds 255 * 2^-24. bf16 has 8 significand bits: half an ulp is 2^-9 relative to its power of 2.
  void ExpectWithinHalfStep(const std::vector<float>& tile) {
    const StaticRange range = RangeOf(tile);
    const std::vector<float> decoded = RoundTrip(tile, range);
    const auto params = ParamsPerElement(codec(), head_dim(), range, encoded_.data);
    for (int i = 0; i < elements(); ++i) {
      const double error = std::abs(double{decoded[i]} - double{tile[i]});
      const double tolerance = is_bf16() ? std::abs(tile[i]) * 0x1p-8 + 0x1p-130
                                         : params[i].scale * (0.5 + 0x1p-8 + 0x1p-15);
      ASSERT_LE(error, tolerance) << "element " << i << " value " << tile[i] << " scale "
                                  << params[i].scale << " zero " << params[i].zero;
    }
  }

  std::vector<float> Normal(float mean, float deviation, uint32_t seed) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> tile(elements());
    for (float& x : tile) x = normal(random);
    return tile;
  }

  AlignedTile encoded_{0};
};

TEST_P(CodecTest, SizesFollowFromBitsAndGroups) {
  const CodecInfo& info = GetCodecInfo(codec());
  const int groups = [&] {
    switch (info.granularity) {
      case Granularity::kPerToken:
        return kBlockTokens * (info.group_channels == 0 ? 1 : head_dim() / info.group_channels);
      case Granularity::kPerChannel:
        return head_dim();
      case Granularity::kPerBlock:
        return 1;
      default:
        return 0;
    }
  }();
  const size_t codes = size_t{1} * elements() * info.bits / 8;
  const TileRegions regions = GetTileRegions(codec(), head_dim());
  EXPECT_EQ(regions.groups, groups);
  EXPECT_EQ(regions.code_bytes, codes);
  EXPECT_EQ(regions.scale_offset, AlignUp(codes));
  EXPECT_EQ(regions.zero_offset, AlignUp(codes) + 2 * groups);
  EXPECT_EQ(TileBytes(codec(), role(), head_dim()), AlignUp(AlignUp(codes) + 4 * groups));
  EXPECT_DOUBLE_EQ(BitsPerElement(codec(), role(), head_dim()),
                   8.0 * TileBytes(codec(), role(), head_dim()) / elements());
}

TEST_P(CodecTest, RoundTripsWithinHalfAStep) {
  ExpectWithinHalfStep(Normal(0.0f, 1.0f, 1));
  ExpectWithinHalfStep(Normal(-3.0f, 0.01f, 2));
  ExpectWithinHalfStep(Normal(0.0f, 1e-5f, 3));
}

TEST_P(CodecTest, RoundTripsOutliers) {
  std::vector<float> tile = Normal(0.0f, 1.0f, 4);
  for (int t = 0; t < kBlockTokens; ++t) tile[t * head_dim() + t % head_dim()] *= 1000.0f;
  tile[5] = 60000.0f;
  tile[elements() - 1] = -60000.0f;
  ExpectWithinHalfStep(tile);
}

TEST_P(CodecTest, RoundTripsGroupsFarFromZero) {
  ExpectWithinHalfStep(Normal(900.0f, 1.0f, 5));
  ExpectWithinHalfStep(Normal(-900.0f, 1.0f, 6));
}

TEST_P(CodecTest, RoundTripsConstants) {
  for (float value : {0.0f, 1.0f, -1.0f, 900.0f, -65504.0f, 1e-30f, 3.14159f}) {
    ExpectWithinHalfStep(std::vector<float>(elements(), value));
  }
}

TEST_P(CodecTest, ZerosStayZero) {
  const std::vector<float> zeros(elements(), 0.0f);
  EXPECT_EQ(RoundTrip(zeros, {0.0f, 0.0f}), zeros);
}

TEST_P(CodecTest, NonFiniteValuesSaturate) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> tile = Normal(0.0f, 1.0f, 7);
  tile[0] = kInfinity;
  tile[head_dim() + 1] = -kInfinity;
  tile[2 * head_dim() + 2] = std::nanf("");
  tile[3 * head_dim() + 3] = std::numeric_limits<float>::max();
  const std::vector<float> decoded = RoundTrip(tile, {-kInfinity, kInfinity});
  if (is_bf16()) {  // the reference hides nothing
    EXPECT_EQ(decoded[0], kInfinity);
    EXPECT_TRUE(std::isnan(decoded[2 * head_dim() + 2]));
    return;
  }
  const auto params = ParamsPerElement(codec(), head_dim(), {-kInfinity, kInfinity}, encoded_.data);
  for (int i = 0; i < elements(); ++i) {
    const double expected = Saturate(tile[i]);
    ASSERT_LE(std::abs(decoded[i] - expected), params[i].scale * (0.5 + 0x1p-8 + 0x1p-15)) << i;
  }
  for (float hostile : {std::nanf(""), kInfinity, -kInfinity}) {
    for (float x : RoundTrip(std::vector<float>(elements(), hostile), {hostile, hostile})) {
      ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST_P(CodecTest, EncodingIsDeterministicPaddingIncluded) {
  const std::vector<float> tile = Normal(0.0f, 1.0f, 8);
  const size_t bytes = TileBytes(codec(), role(), head_dim());
  AlignedTile dirty(bytes), clean(bytes);
  std::fill_n(clean.data, bytes, std::byte{0});
  EncodeTile(codec(), role(), head_dim(), RangeOf(tile), tile.data(), dirty.data);
  EncodeTile(codec(), role(), head_dim(), RangeOf(tile), tile.data(), clean.data);
  EXPECT_TRUE(std::equal(dirty.data, dirty.data + bytes, clean.data));
}

std::string TestName(const testing::TestParamInfo<CodecTest::ParamType>& info) {
  std::string name(GetCodecInfo(std::get<0>(info.param)).name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_d" + std::to_string(std::get<1>(info.param)) +
         (std::get<2>(info.param) == Role::kKey ? "_key" : "_value");
}

INSTANTIATE_TEST_SUITE_P(List, CodecTest, testing::ValuesIn(SupportedCases()), TestName);

}  // namespace
}  // namespace kvpareto::kv
