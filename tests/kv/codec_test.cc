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

// What the codec's type says of itself: its largest magnitude, and how far elements may come back
// from where they were.
struct Promise {
  float limit = 0.0f;
  float (*at)(const TileElement&) = nullptr;
  float (*error_bound)(const TileElement&, float) = nullptr;
};

Promise PromiseOf(CodecId id) {
  Promise promise;
  VisitCodec(id, [&](auto tag) {
    using Codec = typename decltype(tag)::type;
    promise = {Codec::kLimit, &Codec::At, &Codec::ErrorBound};
  });
  return promise;
}

// NaN counts as 0, the rest saturates; codecs without a limit keep everything.
float Saturated(float x, float limit) {
  if (std::isinf(limit)) return x;
  return std::isnan(x) ? 0.0f : std::clamp(x, -limit, limit);
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
  bool keeps_everything() const { return std::isinf(PromiseOf(codec()).limit); }

  std::vector<float> RoundTrip(const std::vector<float>& tile, StaticRange range) {
    encoded_ = AlignedTile(TileBytes(codec(), role(), head_dim()) + 1);
    EncodeTile(codec(), role(), head_dim(), range, tile.data(), encoded_.data);
    EXPECT_EQ(encoded_.data[TileBytes(codec(), role(), head_dim())], std::byte{0xa5})
        << "wrote past the tile";
    std::vector<float> decoded(tile.size(), std::nanf(""));
    DecodeTile(codec(), role(), head_dim(), range, encoded_.data, decoded.data());
    return decoded;
  }

  // Of tiles without NaN; `range` as the codec was given it.
  void ExpectWithinBound(const std::vector<float>& tile, StaticRange range) {
    const Promise promise = PromiseOf(codec());
    const std::vector<float> decoded = RoundTrip(tile, range);
    for (int i = 0; i < elements(); ++i) {
      const TileElement element = {.role = role(),
                                   .head_dim = head_dim(),
                                   .range = range,
                                   .encoded = encoded_.data,
                                   .token = i / head_dim(),
                                   .channel = i % head_dim()};
      const float x = Saturated(tile[i], promise.limit);
      const double bound = promise.error_bound(element, x);
      ASSERT_TRUE(std::isfinite(bound));
      ASSERT_EQ(promise.at(element), decoded[i]);
      ASSERT_LE(std::abs(double{decoded[i]} - double{x}), bound)
          << "element " << i << " value " << tile[i] << " came back as " << decoded[i];
    }
  }
  void ExpectWithinHalfStep(const std::vector<float>& tile) {
    ExpectWithinBound(tile, RangeOf(tile));
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

TEST_P(CodecTest, RegionsFollowOneAnother) {
  const CodecInfo& info = GetCodecInfo(codec());
  const int groups = [&] {
    switch (info.granularity) {
      case Granularity::kPerToken:
        return kBlockTokens * (info.group_channels == 0 ? 1 : head_dim() / info.group_channels);
      case Granularity::kPerChannel:
        return head_dim();
      case Granularity::kPerBlock:
        return 1;
      case Granularity::kDual:
        return role() == Role::kKey ? head_dim() : kBlockTokens;
      case Granularity::kNone:
      case Granularity::kPerTensor:
        return 0;
    }
    return -1;
  }();
  const size_t codes = size_t{1} * elements() * info.bits / 8;
  const TileRegions regions = GetTileRegions(codec(), role(), head_dim());
  EXPECT_EQ(regions.groups, groups);
  EXPECT_EQ(regions.code_bytes, codes);
  EXPECT_EQ(regions.scale_offset, AlignUp(codes));
  EXPECT_EQ(regions.zero_offset, AlignUp(codes) + 2 * groups);
  const size_t end = AlignUp(AlignUp(codes) + 4 * groups);
  if (regions.factors > 0) {
    EXPECT_EQ(regions.factor_offset, end);
  }
  EXPECT_EQ(regions.bytes, end + AlignUp(2 * regions.factors));
  EXPECT_EQ(TileBytes(codec(), role(), head_dim()), regions.bytes);
  EXPECT_DOUBLE_EQ(BitsPerElement(codec(), role(), head_dim()), 8.0 * regions.bytes / elements());
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

// One value of the tile alone, wherever it stands.
TEST_P(CodecTest, RoundTripsOneOutlierAmongZeros) {
  for (int at : {0, head_dim() + 3, elements() - 1}) {
    std::vector<float> tile(elements(), 0.0f);
    tile[at] = -431.0f;
    ExpectWithinHalfStep(tile);
  }
}

TEST_P(CodecTest, RoundTripsDenormals) {
  std::vector<float> tile(elements());
  for (int i = 0; i < elements(); ++i) tile[i] = (i % 7 - 3) * 0x1p-140f;
  ExpectWithinHalfStep(tile);
  tile[elements() / 2] = 2.0f;
  ExpectWithinHalfStep(tile);
}

TEST_P(CodecTest, SaturatesHugeValues) {
  std::vector<float> tile = Normal(0.0f, 1.0f, 9);
  tile[7] = 1e30f;
  tile[3 * head_dim() + 1] = -1e30f;
  tile[elements() - 2] = 3e38f;
  ExpectWithinHalfStep(tile);
  ExpectWithinHalfStep(Normal(0.0f, 1e30f, 9));
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
  tile[3 * head_dim() + 3] = std::numeric_limits<float>::max();
  if (keeps_everything()) {  // such references hide nothing
    tile[2 * head_dim() + 2] = std::nanf("");
    const std::vector<float> decoded = RoundTrip(tile, {});
    EXPECT_EQ(decoded[0], kInfinity);
    EXPECT_EQ(decoded[head_dim() + 1], -kInfinity);
    EXPECT_TRUE(std::isnan(decoded[2 * head_dim() + 2]));
    return;
  }
  ExpectWithinBound(tile, {-kInfinity, kInfinity});
  tile[2 * head_dim() + 2] = 0.0f;
  const std::vector<float> zero = RoundTrip(tile, {-kInfinity, kInfinity});
  tile[2 * head_dim() + 2] = std::nanf("");
  EXPECT_EQ(RoundTrip(tile, {-kInfinity, kInfinity}), zero);
  for (float hostile : {std::nanf(""), kInfinity, -kInfinity}) {
    for (float x : RoundTrip(std::vector<float>(elements(), hostile), {hostile, hostile})) {
      ASSERT_TRUE(std::isfinite(x));
    }
  }
}

// A clip narrows the fitted range, so that steps shrink with it; a clip of 1 is no clip.
TEST_P(CodecTest, ClipSaturatesTheTailsOfTheFittedRange) {
  const CodecInfo& info = GetCodecInfo(codec());
  const std::vector<float> tile = Normal(0.3f, 1.0f, 10);
  StaticRange range = RangeOf(tile);
  const std::vector<float> whole = RoundTrip(tile, range);
  range.clip = 0.5f;
  const std::vector<float> clipped = RoundTrip(tile, range);
  if (info.granularity == Granularity::kNone || info.granularity == Granularity::kPerTensor) {
    EXPECT_EQ(clipped, whole);
    return;
  }
  const auto width = [](const std::vector<float>& values) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return *high - *low;
  };
  // Half the width about the middle, up to a step at each end; the smoothed and dual codecs' groups
  // are moved and stretched first, so their widths are no exact share.
  EXPECT_LT(width(clipped), 0.8f * width(whole));
  EXPECT_GT(width(clipped), 0.3f * width(whole));
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
