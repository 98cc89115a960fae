// The list's names, known sizes, and byte layouts worked out by hand.
#include "engine/kv/codec_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace kvpareto::kv {
namespace {

TEST(CodecListTest, NamesAreThePublicOnesInOrder) {
  std::vector<std::string> expected = {"bf16"};
  for (std::string bits : {"int8", "int4", "int2"}) {
    for (std::string granularity :
         {"token-g32", "token-g64", "token", "channel", "block", "tensor"}) {
      expected.push_back(bits + "-" + granularity);
    }
  }
  for (std::string name : {"int8-token-g128", "int4-token-g128", "int2-token-g128", "int6-token",
                           "int6-channel", "int3-token-g32", "int3-token", "int3-channel", "f32"}) {
    expected.push_back(name);
  }
  for (std::string bits : {"int8", "int4", "int2"}) {
    for (std::string group : {"32", "64", "128"}) {
      expected.push_back(bits + "-token-g" + group + "-smooth");
    }
  }
  expected.insert(expected.end(), {"int4-dual", "int2-dual"});
  // Later codecs stand behind these: ids are stable.
  ASSERT_GE(NumCodecs(), static_cast<int>(expected.size()));
  std::vector<std::string> names;
  for (size_t i = 0; i < expected.size(); ++i) names.emplace_back(GetCodecInfo(CodecId(i)).name);
  EXPECT_EQ(names, expected);
}

TEST(CodecListTest, NamesFindTheirCodecs) {
  for (int i = 0; i < NumCodecs(); ++i) {
    EXPECT_EQ(FindCodec(GetCodecInfo(CodecId(i)).name), CodecId(i));
  }
  EXPECT_EQ(FindCodec("int5-token"), std::nullopt);
  EXPECT_EQ(FindCodec(""), std::nullopt);
  EXPECT_EQ(FindCodec("bf16 "), std::nullopt);
  EXPECT_EQ(FindCodec("bf16"), CodecId::kBf16);
}

TEST(CodecListTest, VisitReachesTheTypeOfTheId) {
  for (int i = 0; i < NumCodecs(); ++i) {
    std::vector<std::string> visited;
    VisitCodec(CodecId(i), [&](auto tag) { visited.push_back(decltype(tag)::type::Name()); });
    EXPECT_EQ(visited, std::vector<std::string>{std::string(GetCodecInfo(CodecId(i)).name)});
  }
}

double Bits(std::string_view name, int head_dim, Role role = Role::kKey) {
  return BitsPerElement(*FindCodec(name), role, head_dim);
}

TEST(CodecListTest, BitsPerElementAreTheOnesOfThePapers) {
  EXPECT_EQ(Bits("bf16", 64), 16.0);
  EXPECT_EQ(Bits("int4-token-g64", 64), 4.5);
  EXPECT_EQ(Bits("int4-token", 64), 4.5);
  EXPECT_EQ(Bits("int4-token-g32", 64), 5.0);
  EXPECT_EQ(Bits("int4-token", 128), 4.25);
  EXPECT_EQ(Bits("int4-channel", 128), 4.5);
  EXPECT_EQ(Bits("int8-token-g32", 128), 9.0);
  EXPECT_EQ(Bits("int2-token-g32", 96), 3.0);
  EXPECT_EQ(Bits("int2-tensor", 80), 2.0);
  // One group's 4 bytes take a whole aligned region: 128 bytes of 2048 codes.
  EXPECT_EQ(Bits("int4-block", 64), 4.25);
  EXPECT_EQ(Bits("f32", 64), 32.0);
  EXPECT_EQ(Bits("int6-token", 128), 6.25);
  EXPECT_EQ(Bits("int6-channel", 64), 6.5);
  EXPECT_EQ(Bits("int3-token", 128), 3.25);
  EXPECT_EQ(Bits("int3-token-g32", 64), 4.0);
  EXPECT_EQ(Bits("int4-token-g128", 128), 4.25);
  // A mean of 16 bits per channel and 64 tokens.
  EXPECT_EQ(Bits("int4-token-g64-smooth", 128), 4.75);
  // A scale and a zero point per channel, a factor per token; the other way round for values.
  EXPECT_EQ(Bits("int4-dual", 128), 4.625);
  EXPECT_EQ(Bits("int4-dual", 128, Role::kValue), 4.5);
  EXPECT_EQ(Bits("int2-dual", 64), 2.75);
}

TEST(CodecListTest, GroupsMustDivideTheHead) {
  for (int i = 0; i < NumCodecs(); ++i) {
    const int group = GetCodecInfo(CodecId(i)).group_channels;
    for (int head_dim : {64, 80, 96, 128, 256}) {
      EXPECT_EQ(CodecSupports(CodecId(i), head_dim), group == 0 || head_dim % group == 0);
    }
  }
  EXPECT_FALSE(CodecSupports(*FindCodec("int4-token-g64"), 80));
  EXPECT_FALSE(CodecSupports(*FindCodec("int4-token-g64"), 96));
  EXPECT_FALSE(CodecSupports(*FindCodec("int8-token-g32"), 80));
  EXPECT_TRUE(CodecSupports(*FindCodec("int2-token-g32"), 96));
  EXPECT_TRUE(CodecSupports(*FindCodec("int2-token"), 80));
  for (int i = 0; i < NumCodecs(); ++i) {
    EXPECT_FALSE(CodecSupports(CodecId(i), 0));
    EXPECT_FALSE(CodecSupports(CodecId(i), -64));
    EXPECT_FALSE(CodecSupports(CodecId(i), 63));
  }
}

TEST(TileTest, ElementIndexIsAPermutation) {
  for (Role role : {Role::kKey, Role::kValue}) {
    for (int head_dim : {64, 80, 256}) {
      std::set<int> seen;
      for (int t = 0; t < kBlockTokens; ++t) {
        for (int c = 0; c < head_dim; ++c) {
          seen.insert(ElementIndex(role, t, c, kBlockTokens, head_dim));
        }
      }
      EXPECT_EQ(seen.size(), kBlockTokens * head_dim);
      EXPECT_EQ(*seen.begin(), 0);
      EXPECT_EQ(*seen.rbegin(), kBlockTokens * head_dim - 1);
    }
  }
}

// A tile whose groups span exactly [0, 2^bits - 1]: scale 1, zero point 0, code = value. Elements
// 16 tokens or 16 channels apart, which share a byte, differ by one.
template <typename Codec>
constexpr std::array<std::byte, Codec::TileBytes(64)> EncodeCounting(Role role) {
  std::array<float, kBlockTokens * 64> tile{};
  for (int t = 0; t < kBlockTokens; ++t) {
    for (int c = 0; c < 64; ++c) {
      tile[t * 64 + c] = static_cast<float>((c + c / 16 + t + t / 16) % (Codec::kMaxCode + 1));
    }
  }
  std::array<std::byte, Codec::TileBytes(64)> encoded{};
  Codec::Encode(role, 64, {}, tile.data(), encoded.data());
  return encoded;
}

// Keys: elements run [channel pair][token][2], so element 2 t + i is channel i of token t, for
// t < 64.
TEST(LayoutTest, Int4KeysByHand) {
  const auto encoded = EncodeCounting<IntCodec<4, PerToken<64>>>(Role::kKey);
  // Byte 0: elements 0 (t0 c0: 0) and 32 (t16 c0: 16 + 1 mod 16 = 1).
  EXPECT_EQ(encoded[0], std::byte{0x10});
  // Byte 1: elements 1 (t0 c1: 1) and 33 (t16 c1: 2).
  EXPECT_EQ(encoded[1], std::byte{0x21});
  // Byte 6: elements 6 (t3 c0: 3) and 38 (t19 c0: 4).
  EXPECT_EQ(encoded[6], std::byte{0x43});
  // Unit 1, byte 32: elements 64 (t32 c0: 2) and 96 (t48 c0: 3). Unit 2: channels 2 and 3.
  EXPECT_EQ(encoded[32], std::byte{0x32});
  EXPECT_EQ(encoded[64], std::byte{0x32});
  EXPECT_EQ(encoded[65], std::byte{0x43});
  // 64 scales of 1.0 (fp16 0x3c00) from 2048, 64 zero points of 0 from 2176, the end at 2304.
  EXPECT_EQ(encoded.size(), 2304);
  for (int g = 0; g < 64; ++g) {
    EXPECT_EQ(encoded[2048 + 2 * g], std::byte{0x00});
    EXPECT_EQ(encoded[2048 + 2 * g + 1], std::byte{0x3c});
    EXPECT_EQ(encoded[2176 + 2 * g], std::byte{0x00});
    EXPECT_EQ(encoded[2176 + 2 * g + 1], std::byte{0x00});
  }
}

// Values: elements run [token pair][channel][2], so element 2 c + i is channel c of token i.
TEST(LayoutTest, Int2ValuesByHand) {
  const auto encoded = EncodeCounting<IntCodec<2, PerToken<32>>>(Role::kValue);
  // Byte 2: elements 2, 34, 66, 98: channels 1, 17, 33, 49 of token 0: 1, 18, 35, 52 mod 4.
  EXPECT_EQ(encoded[2], std::byte{0b00'11'10'01});
  // Byte 3: elements 3, 35, 67, 99: token 1 of the same channels, one more.
  EXPECT_EQ(encoded[3], std::byte{0b01'00'11'10});
  // Unit 1 holds tokens 2 and 3: byte 32: channels 0, 16, 32, 48 of token 2: 2, 19, 36, 53 mod 4.
  EXPECT_EQ(encoded[32], std::byte{0b01'00'11'10});
  // Codes 64 * 64 / 4 = 1024 bytes, then 2 * 64 scales and zero points.
  EXPECT_EQ(encoded[1024 + 1], std::byte{0x3c});
  EXPECT_EQ(encoded[1024 + 255], std::byte{0x3c});
  EXPECT_EQ(encoded.size(), 1024 + 512);
}

TEST(LayoutTest, Int8IsOneBytePerElement) {
  const auto encoded = EncodeCounting<IntCodec<8, PerBlock>>(Role::kValue);
  // max is 63 + 3 + 63 + 3 = 132: scale 132 / 255 rounded up to fp16.
  const float scale = F16ToFloat(LoadU16(encoded.data() + 4096, 0));
  EXPECT_GE(scale, 132.0f / 255.0f);
  EXPECT_LE(scale, 132.0f / 255.0f * (1 + 0x1p-10f));
  // Element 2 is channel 1 of token 0, element 34 channel 17: 18.
  EXPECT_EQ(static_cast<int>(encoded[2]), std::lround(1.0f / scale));
  EXPECT_EQ(static_cast<int>(encoded[34]), std::lround(18.0f / scale));
  EXPECT_EQ(static_cast<int>(encoded[4095]), 255);  // the largest value
}

// Keys of one unit: elements 0..127 are channels 0 and 1 of the 64 tokens; 128 of them are rows of
// 96 and of 48 bytes.
TEST(LayoutTest, Int6KeysByHand) {
  const auto encoded = EncodeCounting<IntCodec<6, PerToken<64>>>(Role::kKey);
  // Low planes as int4: byte 0: elements 0 (t0 c0: 0) and 32 (t16 c0: 17, low bits 1). Byte 33 (the
  // second unit): elements 65 (t32 c1: 1 + 32 + 2 = 35, low bits 3) and 97 (t48 c1: 52, low bits
  // 4).
  EXPECT_EQ(encoded[0], std::byte{0x10});
  EXPECT_EQ(encoded[33], std::byte{0x43});
  // High plane as int2: byte 65: elements 1, 33, 65, 97: 1, 18, 35, 52: high bits 0, 1, 2, 3.
  EXPECT_EQ(encoded[65], std::byte{0b11'10'01'00});
  // The next unit: channels 2 and 3. Byte 96: elements 128 (t0 c2: 2) and 160 (t16 c2: 19).
  EXPECT_EQ(encoded[96], std::byte{0x32});
  EXPECT_EQ(encoded.size(), 64 * 64 * 6 / 8 + 256);
}

TEST(LayoutTest, Int3KeysByHand) {
  const auto encoded = EncodeCounting<IntCodec<3, PerToken<64>>>(Role::kKey);
  // Low plane as int2: byte 1: elements 1, 33, 65, 97: 1, 18, 35, 52 mod 8: 1, 2, 3, 4.
  EXPECT_EQ(encoded[1], std::byte{0b00'11'10'01});
  // High plane in element order: byte 32: elements 0..7: channels 0 and 1 of tokens 0..3: 0..4, no
  // code above 3 but that of element 7 (t3 c1: 4).
  EXPECT_EQ(encoded[32], std::byte{0b1000'0000});
  // Byte 44: elements 96..103: tokens 48..51: 51, 52, 52, 53, 53, 54, 54, 55 mod 8: 3, 4, 4, ...
  EXPECT_EQ(encoded[44], std::byte{0b1111'1110});
  // The next unit, byte 48: channel 2 of tokens 0, 16, 32, 48: 2, 19, 36, 53 mod 8: 2, 3, 4, 5.
  EXPECT_EQ(encoded[48], std::byte{0b01'00'11'10});
  EXPECT_EQ(encoded.size(), 64 * 64 * 3 / 8 + 256);
}

// Means stand behind the inner codec's tile, and what it quantizes is the rest.
TEST(LayoutTest, SmoothedKeepsTheMeanOfEachChannel) {
  using Inner = IntCodec<8, PerToken<64>>;
  std::vector<float> tile(kBlockTokens * 64), decoded(tile.size());
  for (int t = 0; t < kBlockTokens; ++t) {
    for (int c = 0; c < 64; ++c) tile[t * 64 + c] = 100.0f * c + (t % 2 == 0 ? 0.125f : -0.125f);
  }
  std::vector<std::byte> encoded(Smoothed<Inner>::Regions(Role::kKey, 64).bytes);
  EXPECT_EQ(encoded.size(), Inner::TileBytes(64) + 128);
  Smoothed<Inner>::Encode(Role::kKey, 64, {}, tile.data(), encoded.data());
  EXPECT_EQ(F16ToFloat(LoadU16(encoded.data() + Inner::TileBytes(64), 7)), 700.0f);
  Smoothed<Inner>::Decode(Role::kKey, 64, {}, encoded.data(), decoded.data());
  for (size_t i = 0; i < tile.size(); ++i) EXPECT_NEAR(decoded[i], tile[i], 0.001);
}

// Tokens whose loudness differs by up to 30: the factors take that in, so steps stay small.
TEST(LayoutTest, DualFactorsFollowTheLoudTokens) {
  std::vector<float> tile(kBlockTokens * 64);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto loudness = [](int t) { return t % 8 == 0 ? 30.0f : 1.0f; };
  for (int t = 0; t < kBlockTokens; ++t) {
    for (int c = 0; c < 64; ++c) tile[t * 64 + c] = loudness(t) * normal(random);
  }
  const auto squared_error_of_quiet_tokens = [&](std::string_view name) {
    const CodecId codec = *FindCodec(name);
    std::vector<std::byte> encoded(TileBytes(codec, Role::kKey, 64));
    std::vector<float> decoded(tile.size());
    EncodeTile(codec, Role::kKey, 64, {}, tile.data(), encoded.data());
    DecodeTile(codec, Role::kKey, 64, {}, encoded.data(), decoded.data());
    double sum = 0.0;
    for (int t = 0; t < kBlockTokens; ++t) {
      for (int c = 0; c < 64 && loudness(t) == 1.0f; ++c) {
        sum += std::pow(decoded[t * 64 + c] - tile[t * 64 + c], 2);
      }
    }
    return sum;
  };
  // Without factors the step follows the loud tokens: 30 times as wide, 900 times the error.
  EXPECT_LT(squared_error_of_quiet_tokens("int4-dual"),
            squared_error_of_quiet_tokens("int4-channel") / 100);
}

// Token groups: all tokens of channel group 0 first. Channel groups: the channel.
TEST(LayoutTest, GroupOrder) {
  using Grouped = IntCodec<4, PerToken<32>>;
  std::vector<float> tile(kBlockTokens * 64, 0.0f);
  tile[5 * 64 + 40] = 15.0f * 8;  // token 5, channel group 1: scale 8
  std::vector<std::byte> encoded(Grouped::TileBytes(64));
  Grouped::Encode(Role::kKey, 64, {}, tile.data(), encoded.data());
  EXPECT_EQ(F16ToFloat(LoadU16(encoded.data() + Grouped::ScaleOffset(64), 64 + 5)), 8.0f);
  EXPECT_EQ(F16ToFloat(LoadU16(encoded.data() + Grouped::ScaleOffset(64), 5)), kMinScale);

  using Channelwise = IntCodec<8, PerChannel>;
  tile[5 * 64 + 40] = 255.0f;
  encoded.assign(Channelwise::TileBytes(64), std::byte{0});
  Channelwise::Encode(Role::kKey, 64, {}, tile.data(), encoded.data());
  EXPECT_EQ(F16ToFloat(LoadU16(encoded.data() + Channelwise::ScaleOffset(64), 40)), 1.0f);
}

TEST(LayoutTest, EveryElementBelongsToTheGroupWhoseRegionHoldsIt) {
  for (int i = 0; i < NumCodecs(); ++i) {
    VisitCodec(CodecId(i), [&](auto tag) {
      using Codec = typename decltype(tag)::type;
      if constexpr (requires { typename Codec::Policy; }) {
        for (int head_dim : {64, 96, 128}) {
          if (!Codec::Supports(head_dim)) continue;
          std::vector<int> owners(kBlockTokens * head_dim, 0);
          for (int g = 0; g < Codec::Policy::Groups(head_dim); ++g) {
            const GroupRegion r = Codec::Policy::Region(g, head_dim);
            for (int t = r.first_token; t < r.first_token + r.tokens; ++t) {
              for (int c = r.first_channel; c < r.first_channel + r.channels; ++c) {
                EXPECT_EQ(Codec::Policy::GroupOf(t, c, head_dim), g);
                ++owners[t * head_dim + c];
              }
            }
          }
          EXPECT_EQ(std::count(owners.begin(), owners.end(), 1), kBlockTokens * head_dim);
        }
      }
    });
  }
}

// The scalar definitions are constant expressions: proof that they need no library, as devices ask.
static_assert(EncodeCounting<IntCodec<4, PerToken<64>>>(Role::kKey)[65] == std::byte{0x43});

}  // namespace
}  // namespace kvpareto::kv
