#include "engine/policy/kv_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/policy/test_models.h"

namespace kvpareto {
namespace {

using testing::HasSubstr;

KvConfig Parsed(std::string_view text) {
  absl::StatusOr<KvConfig> config = KvConfig::Parse(text);
  EXPECT_TRUE(config.ok()) << text << ": " << config.status();
  return config.ok() ? *config : KvConfig{};
}

TEST(KvConfigTest, TextFormIsTheDocumentedOne) {
  constexpr std::string_view kText =
      "k=int4-channel v=int4-token-g64 sink=16 recent=128 chunk=256 "
      "layers=0:bf16/bf16,29:int8-token/int4-token";
  const KvConfig config = Parsed(kText);
  EXPECT_EQ(config.codecs.k, *kv::FindCodec("int4-channel"));
  EXPECT_EQ(config.codecs.v, *kv::FindCodec("int4-token-g64"));
  EXPECT_EQ(config.sink_tokens, 16);
  EXPECT_EQ(config.recent_tokens, 128);
  EXPECT_EQ(config.prefill_chunk_tokens, 256);
  ASSERT_EQ(config.layer_overrides.size(), 2);
  EXPECT_EQ(config.layer_overrides.at(29).k, *kv::FindCodec("int8-token"));
  EXPECT_EQ(config.ToString(), kText);
  EXPECT_EQ(config.StorageName(),
            "k=int4-channel v=int4-token-g64 sink=16 recent=128 "
            "layers=0:bf16/bf16,29:int8-token/int4-token");
}

TEST(KvConfigTest, TransformsAreWordsOfTheTextForm) {
  constexpr std::string_view kText =
      "k=int2-token v=int4-token sink=16 recent=0 chunk=256 krot=balanced vrot=hadamard "
      "kcenter=static vcenter=static kbias=remove kclip=0.96 vclip=auto layers=0:bf16/bf16";
  const KvConfig config = Parsed(kText);
  const kv::Transforms expected = {.k_rotation = kv::Rotation::kBalanced,
                                   .v_rotation = kv::Rotation::kHadamard,
                                   .k_center = true,
                                   .v_center = true,
                                   .remove_key_bias = true,
                                   .k_clip = {.ratio = 0.96f},
                                   .v_clip = {.calibrated = true}};
  EXPECT_EQ(config.transforms, expected);
  EXPECT_EQ(config.ToString(), kText);
  // What is left out means that nothing is done, and is not written.
  const KvConfig none = Parsed(
      "k=bf16 v=bf16 krot=none vrot=none kcenter=none vcenter=none kbias=keep kclip=1 vclip=1");
  EXPECT_EQ(none.transforms, kv::Transforms{});
  EXPECT_EQ(none.ToString(), "k=bf16 v=bf16 sink=16 recent=0 chunk=256");
  EXPECT_EQ(Parsed("krot=oscar k=bf16 v=bf16").transforms.k_rotation, kv::Rotation::kOscar);
}

TEST(KvConfigTest, DefaultsAreWrittenOut) {
  EXPECT_EQ(Parsed("v=int8-token k=bf16").ToString(),
            "k=bf16 v=int8-token sink=16 recent=0 chunk=256");
  EXPECT_EQ(KvConfig::Bf16().ToString(), "k=bf16 v=bf16 sink=0 recent=0 chunk=512");
}

TEST(KvConfigTest, RandomConfigsRoundTrip) {
  RandomPolicy random(31);
  for (int i = 0; i < 2000; ++i) {
    const KvConfig config = random.Config(30);
    ASSERT_EQ(Parsed(config.ToString()), config) << config.ToString();
  }
}

TEST(KvConfigTest, ErrorsNameTheWordAndWhatIsAllowed) {
  struct Case {
    std::string_view text, message;
  };
  for (const auto& [text, message] : {
           Case{"", "k=CODEC is missing"},
           {"   ", "k=CODEC is missing"},
           {"k=bf16", "v=CODEC is missing"},
           {"k=bf16 v=int5-token", "no codec is called 'int5-token'; there are bf16, int8-"},
           {"k=bf16 v=bf16 sink=1025", "sink is '1025', allowed are 0..1024"},
           {"k=bf16 v=bf16 sink=-1", "sink is '-1'"},
           {"k=bf16 v=bf16 sink=", "sink is ''"},
           {"k=bf16 v=bf16 sink=1x", "sink is '1x'"},
           {"k=bf16 v=bf16 recent=65537", "allowed are 0..65536"},
           {"k=bf16 v=bf16 recent=99999999999999999999", "allowed are 0..65536"},
           {"k=bf16 v=bf16 chunk=0", "allowed are 64..4096"},
           {"k=bf16 v=bf16 chunk=100", "not a multiple of 64"},
           {"k=bf16 v=bf16 k=bf16", "'k' stands there twice"},
           {"k=bf16 v=bf16 rotate=1", "unknown word 'rotate'; there are k, v, sink"},
           {"k=bf16 v", "'v' is not of the form KEY=VALUE"},
           {"k=bf16 v=bf16 layers=", "expected LAYER:K_CODEC/V_CODEC"},
           {"k=bf16 v=bf16 layers=0:bf16", "expected LAYER:K_CODEC/V_CODEC"},
           {"k=bf16 v=bf16 layers=0:bf16/bf16,", "expected LAYER:K_CODEC/V_CODEC"},
           {"k=bf16 v=bf16 layers=0/bf16:bf16", "expected LAYER:K_CODEC/V_CODEC"},
           {"k=bf16 v=bf16 layers=-1:bf16/bf16", "a layer is '-1'"},
           {"k=bf16 v=bf16 layers=1:bf16/bf16,1:bf16/bf16", "names layer 1 twice"},
           {"k=bf16 v=bf16 layers=1:bf16/bf17", "no codec is called 'bf17'"},
           {"k=\x01\xff v=bf16", "no codec is called '?"},
           {"k=bf16 v=bf16 krot=random",
            "krot is 'random', allowed are none, hadamard, oscar and balanced"},
           {"k=bf16 v=bf16 vrot=", "vrot is '', allowed are none"},
           {"k=bf16 v=bf16 kcenter=1", "kcenter is '1', allowed are none and static"},
           {"k=bf16 v=bf16 vcenter=Static", "vcenter is 'Static', allowed are none and static"},
           {"k=bf16 v=bf16 kbias=yes", "kbias is 'yes', allowed are keep and remove"},
           {"k=bf16 v=bf16 vbias=remove", "unknown word 'vbias'"},
           {"k=bf16 v=bf16 kclip=0.29", "kclip is '0.29', allowed are auto and 0.3..1"},
           {"k=bf16 v=bf16 kclip=1.01", "allowed are auto and 0.3..1"},
           {"k=bf16 v=bf16 vclip=nan", "vclip is 'nan'"},
           {"k=bf16 v=bf16 vclip=0.9x", "vclip is '0.9x'"},
           {"k=bf16 v=bf16 krot=none krot=none", "'krot' stands there twice"},
       }) {
    const absl::Status status = KvConfig::Parse(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(message))) << text;
    ASSERT_TRUE(GetErrorInfo(status).has_value());
    EXPECT_EQ(GetErrorInfo(status)->reason, "KV_CONFIG_INVALID");
  }
}

TEST(KvConfigTest, HostileTextIsBounded) {
  EXPECT_FALSE(KvConfig::Parse(std::string(1 << 20, ' ')).ok());
  EXPECT_FALSE(KvConfig::Parse(std::string(60000, '=')).ok());
  EXPECT_LT(KvConfig::Parse("k=" + std::string(60000, 'x')).status().message().size(), 1000);
  RandomPolicy random(32);
  for (int i = 0; i < 5000; ++i) {  // mutations of a valid text: an answer, never a crash
    std::string text = random.Config(30).ToString();
    for (int j = random.Pick(1, 4); j > 0; --j) {
      text[random.Pick(0, static_cast<int>(text.size()) - 1)] =
          static_cast<char>(random.Pick(0, 255));
    }
    if (const auto config = KvConfig::Parse(text); config.ok()) {
      EXPECT_EQ(Parsed(config->ToString()), *config);
    }
  }
}

TEST(KvConfigTest, ValidatesAgainstTheModel) {
  ModelConfig model = SmallModel();
  EXPECT_TRUE(Parsed("k=int4-token-g64 v=int4-token-g64").ValidateFor(model).ok());
  EXPECT_TRUE(Parsed("k=bf16 v=bf16 layers=29:bf16/bf16").ValidateFor(model).ok());
  const absl::Status layer = Parsed("k=bf16 v=bf16 layers=30:bf16/bf16").ValidateFor(model);
  EXPECT_THAT(std::string(layer.message()), HasSubstr("layer 30; the model has 0..29"));
  model.head_dim = 80;
  for (const char* text : {"k=int4-token-g64 v=bf16", "k=bf16 v=int4-token-g32",
                           "k=bf16 v=bf16 layers=3:bf16/int2-token-g64"}) {
    const absl::Status head = Parsed(text).ValidateFor(model);
    EXPECT_EQ(head.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(head.message()), HasSubstr("cannot store heads of 80 channels"));
  }
  EXPECT_TRUE(Parsed("k=int4-channel v=int4-token").ValidateFor(model).ok());
}

TEST(KvConfigTest, KnowsWhatItNeeds) {
  EXPECT_TRUE(KvConfig::Bf16().is_bf16());
  EXPECT_FALSE(Parsed("k=bf16 v=bf16 layers=3:bf16/int8-token").is_bf16());
  EXPECT_FALSE(Parsed("k=int8-channel v=int8-token").needs_calibration());
  EXPECT_TRUE(Parsed("k=bf16 v=bf16 layers=3:int8-tensor/bf16").needs_calibration());
  for (const char* word : {"krot=oscar", "vrot=balanced", "kcenter=static", "vcenter=static",
                           "kbias=remove", "kclip=auto", "vclip=auto"}) {
    const KvConfig config = Parsed("k=int4-token v=int4-token " + std::string(word));
    EXPECT_TRUE(config.needs_calibration()) << word;
    EXPECT_TRUE(config.needs_transforms()) << word;
  }
  for (const char* word : {"krot=hadamard", "vrot=hadamard", "kclip=0.9", "vclip=0.5"}) {
    const KvConfig config = Parsed("k=int4-token v=int4-token " + std::string(word));
    EXPECT_FALSE(config.needs_calibration()) << word;
    EXPECT_TRUE(config.needs_transforms()) << word;
  }
  EXPECT_FALSE(Parsed("k=int4-token v=int4-token").needs_transforms());
}

TEST(KvConfigTest, OverridesReachTheirLayersOnly) {
  const auto layers = Parsed("k=int4-token v=int2-token layers=1:bf16/int8-token").PerLayer(3);
  ASSERT_EQ(layers.size(), 3);
  EXPECT_EQ(layers[0].k, *kv::FindCodec("int4-token"));
  EXPECT_EQ(layers[1].v, *kv::FindCodec("int8-token"));
  EXPECT_EQ(layers[2], layers[0]);
}

TEST(KvBytesTest, FootprintByHand) {
  const ModelConfig model = SmallModel();
  const KvConfig config = Parsed("k=int4-token-g64 v=int8-token sink=17 recent=5");
  const kv::FootprintParams params = Footprint(config, model);
  EXPECT_EQ(params.sealed_block_bytes, 30 * 3 * (2304 + 4352));
  EXPECT_EQ(params.bf16_block_bytes, 30 * 3 * 2 * 64 * 64 * 2);
  EXPECT_EQ(params.sink_bytes, 30 * 3 * 2 * 32 * 64 * 2);  // 17 tokens in a tile of 32
  EXPECT_EQ(params.sink_tokens, 17);
  EXPECT_EQ(params.recent_tokens, 5);
  EXPECT_TRUE(params.seals);
  EXPECT_FALSE(Footprint(KvConfig::Bf16(), model).seals);
  EXPECT_EQ(Footprint(KvConfig::Bf16(), model).sink_bytes, 0);
}

TEST(KvBytesTest, EffectiveBits) {
  const ModelConfig model = SmallModel();
  EXPECT_EQ(EffectiveBits(KvConfig::Bf16(), model, 640), 16.0);
  EXPECT_EQ(EffectiveBits(Parsed("k=int4-token v=int4-token sink=0"), model, 6400), 4.5);
  // 16 sink tokens, 99 sealed blocks, an open block.
  const double bits = EffectiveBits(Parsed("k=int4-token v=int4-token"), model, 6400);
  EXPECT_DOUBLE_EQ(bits, (16 * 16 + 99 * 64 * 4.5 + 64 * 16) / 6400.0);
  EXPECT_EQ(EffectiveBits(KvConfig::Bf16(), model, 0), 0.0);
}

TEST(KvBytesTest, EffectiveBitsOfCodecsThatStoreMoreThanCodes) {
  const ModelConfig model = SmallModel();
  const auto bits = [&](const char* codec) {
    const std::string name(codec);
    return EffectiveBits(Parsed("k=" + name + " v=" + name + " sink=0"), model, 6400);
  };
  EXPECT_EQ(EffectiveBits(KvConfig::F32(), model, 6400), 32.0);
  EXPECT_EQ(EffectiveBits(Parsed("k=f32 v=f32 sink=16"), model, 16), 32.0);
  EXPECT_EQ(bits("int3-channel"), 3 + 32.0 / 64);
  EXPECT_EQ(bits("int4-token-g64-smooth"), 4 + 32.0 / 64 + 16.0 / 64);  // a mean per channel
  // Scale and zero point per channel, a scale per token.
  EXPECT_EQ(bits("int4-dual"), 4 + 32.0 / 64 + 16.0 / 64);
}

TEST(KvBytesTest, F32AloneIsKeptAsItIs) {
  EXPECT_TRUE(Parsed("k=f32 v=f32").is_exact());
  EXPECT_FALSE(Parsed("k=f32 v=bf16").is_exact());
  EXPECT_FALSE(Parsed("k=f32 v=f32 layers=3:f32/int4-token").is_exact());
  EXPECT_FALSE(KvConfig::Bf16().is_exact());
  const ModelConfig model = SmallModel();
  const kv::FootprintParams params = Footprint(KvConfig::F32(), model);
  EXPECT_FALSE(params.seals);
  EXPECT_EQ(params.bf16_block_bytes, 30 * 3 * 2 * 64 * 64 * 4);
  EXPECT_EQ(Footprint(Parsed("k=f32 v=bf16"), model).bf16_block_bytes, 30 * 3 * 2 * 64 * 64 * 2);
}

// The bits that KV Pareto's formats take: a scale and zero point per group, a mean per chunk.
TEST(KvBytesTest, EffectiveBitsOnWrite) {
  const ModelConfig model = SmallModel();
  const auto bits = [&](const char* text) {
    const auto result = EffectiveBitsOnWrite(Parsed(text), model, 8192);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(0.0);
  };
  constexpr double kSmooth = 4.5 + 16.0 / 256 / 2;
  EXPECT_DOUBLE_EQ(bits("k=int4-token-g64-smooth v=int4-token-g64 sink=0 recent=0 chunk=256"),
                   kSmooth);
  EXPECT_DOUBLE_EQ(bits("k=int4-token-g64-smooth v=int4-token-g64 sink=64 recent=128 chunk=256"),
                   (16 * 192 + kSmooth * 8000) / 8192);
  EXPECT_DOUBLE_EQ(bits("k=int8-token v=int2-token-g32 sink=0"), (8.5 + 3.0) / 2);
  EXPECT_DOUBLE_EQ(bits("k=int2-token v=int2-token sink=0 recent=9000"), 16.0);
  EXPECT_FALSE(EffectiveBitsOnWrite(Parsed("k=int4-dual v=bf16"), model, 8192).ok());
}

}  // namespace
}  // namespace kvpareto
