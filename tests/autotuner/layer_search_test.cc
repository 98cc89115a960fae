// The search for codecs per layer, on effects that are made up.
#include "autotuner/layer_search.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

constexpr int kLayers = 6;

ModelConfig Model() {
  ModelConfig model;
  model.layers = kLayers;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 64;
  return model;
}

LayerSearchOptions Options(std::vector<double> targets) {
  LayerSearchOptions options;
  options.base = *KvConfig::Parse("k=bf16 v=bf16 sink=16 recent=128 chunk=128 krot=hadamard");
  for (const char* name : {"int2-channel", "int4-channel", "int8-channel"}) {
    options.k_codecs.push_back(*kv::FindCodec(name));
  }
  for (const char* name : {"int2-token", "int4-token"}) {
    options.v_codecs.push_back(*kv::FindCodec(name));
  }
  options.target_bits = std::move(targets);
  return options;
}

// Effects [layer][int2, int4, int8 keys, int2, int4 values] that fall by 10 and 100, times the
// layer's weight for keys; values weigh a tenth.
std::vector<double> Effects(const std::vector<double>& weights) {
  std::vector<double> kl;
  for (const double weight : weights) {
    kl.insert(kl.end(), {weight, weight / 10, weight / 100, weight / 10, weight / 100});
  }
  return kl;
}

TEST(SensitivityConfigsTest, ChangeOneLayerAndRoleEach) {
  const LayerSearchOptions options = Options({4.0});
  const std::vector<MeasuredConfig> configs = SensitivityConfigs(options, Model());
  ASSERT_EQ(configs.size(), kLayers * 5);
  const MeasuredConfig& key = configs[2 * 5 + 1];
  EXPECT_EQ(key.name, "layer 2 k int4-channel");
  EXPECT_EQ(key.config.ToString(),
            "k=bf16 v=bf16 sink=16 recent=128 chunk=128 krot=hadamard layers=2:int4-channel/bf16");
  const MeasuredConfig& value = configs[5 * 5 + 3];
  EXPECT_EQ(value.name, "layer 5 v int2-token");
  EXPECT_EQ(value.config.ToString(),
            "k=bf16 v=bf16 sink=16 recent=128 chunk=128 krot=hadamard layers=5:bf16/int2-token");
  EXPECT_TRUE(LayerSearchReference(options.base).is_bf16());
}

TEST(ControlConfigsTest, KeepOneLayerInInt8) {
  const auto configs = ControlConfigs(Options({4.0}), Model());
  ASSERT_EQ(configs.size(), kLayers);
  EXPECT_EQ(
      configs[3].config.ToString(),
      "k=bf16 v=bf16 sink=16 recent=128 chunk=128 krot=hadamard layers=3:int8-channel/int8-token");
}

TEST(EffectsOfTest, TakesTheControlOfTheLayerAway) {
  const std::vector<double> kl = {10, 5, 1, 8, 2, /* layer 1 */ 10, 5, 1, 8, 2};
  EXPECT_THAT(EffectsOf(Options({4.0}), kl, {2, 0}),
              testing::ElementsAre(8, 3, 0, 6, 0, 10, 5, 1, 8, 2));
}

TEST(SearchLayerMapsTest, SpendsBitsWhereTheyHelpMost) {
  const ModelConfig model = Model();
  const auto maps = SearchLayerMaps(Options({3.3, 5.0}), model, Effects({1, 1, 50, 1, 1, 20}));
  ASSERT_EQ(maps.size(), 2);
  const auto k = [](const LayerMap& map, int layer) {
    return std::string(kv::GetCodecInfo(map.config.PerLayer(kLayers)[layer].k).name);
  };
  EXPECT_EQ(k(maps[0], 0), "int2-channel");
  EXPECT_NE(k(maps[0], 2), "int2-channel");
  for (const LayerMap& map : maps) {
    EXPECT_LE(map.bits, map.target_bits);
    EXPECT_DOUBLE_EQ(map.bits, EffectiveBits(map.config, model, 8192));
    EXPECT_EQ(map.config.sink_tokens, 16);
    EXPECT_EQ(map.config.transforms.k_rotation, kv::Rotation::kHadamard);
  }
  EXPECT_LT(maps[1].estimated_kl, maps[0].estimated_kl);
}

// Against every combination for three layers.
TEST(SearchLayerMapsTest, IsCloseToTheBestCombination) {
  ModelConfig model = Model();
  model.layers = 3;
  const std::vector<double> kl = Effects({3.0, 0.2, 9.0});
  LayerSearchOptions options = Options({3.3, 4.0, 4.6, 5.5});
  const auto maps = SearchLayerMaps(options, model, kl);
  ASSERT_EQ(maps.size(), options.target_bits.size());
  for (const LayerMap& map : maps) {
    double best = 1e9;
    for (int combination = 0; combination < 6 * 6 * 6; ++combination) {
      KvConfig config = options.base;
      double total = 0.0;
      for (int layer = 0, rest = combination; layer < 3; ++layer, rest /= 6) {
        config.layer_overrides[layer] = {.k = options.k_codecs[rest % 3],
                                         .v = options.v_codecs[rest % 6 / 3]};
        total += kl[layer * 5 + rest % 3] + kl[layer * 5 + 3 + rest % 6 / 3];
      }
      if (EffectiveBits(config, model, 8192) <= map.target_bits) best = std::min(best, total);
    }
    EXPECT_GE(map.estimated_kl, best * 0.999);
    EXPECT_LE(map.estimated_kl, best * 1.5) << map.config.ToString();
  }
}

TEST(SearchLayerMapsTest, EscalatedLayersStartOneUp) {
  LayerSearchOptions options = Options({3.5});
  const std::vector<double> kl = Effects({1, 1, 1, 1, 1, 1e-6});
  options.escalated = {5};
  const auto maps = SearchLayerMaps(options, Model(), kl);
  ASSERT_EQ(maps.size(), 1);
  const kv::LayerCodecs last = maps[0].config.PerLayer(kLayers)[5];
  EXPECT_EQ(kv::GetCodecInfo(last.k).name, "int4-channel");
  EXPECT_EQ(kv::GetCodecInfo(last.v).name, "int4-token");
  options.escalated.clear();
  const auto free = SearchLayerMaps(options, Model(), kl);
  EXPECT_EQ(kv::GetCodecInfo(free[0].config.PerLayer(kLayers)[5].k).name, "int2-channel");
}

TEST(SearchLayerMapsTest, TargetsThatCannotBeMetAreLeftOut) {
  EXPECT_TRUE(
      SearchLayerMaps(Options({2.0}), Model(), Effects(std::vector<double>(6, 1.0))).empty());
}

TEST(SearchLayerMapsTest, NoiseIsNotBoughtWithBits) {
  std::vector<double> kl = Effects(std::vector<double>(kLayers, 1e-4));
  for (double& effect : kl) effect = 1e-4;  // precision changes nothing
  const auto maps = SearchLayerMaps(Options({6.0}), Model(), kl);
  ASSERT_EQ(maps.size(), 1);
  EXPECT_TRUE(maps[0].config.layer_overrides.empty());
  EXPECT_EQ(kv::GetCodecInfo(maps[0].config.codecs.k).name, "int2-channel");
}

TEST(FormatLayerMapsTest, IsAListThatCanBeMeasured) {
  const auto maps = SearchLayerMaps(Options({3.0, 5.0}), Model(), Effects({1, 2, 50, 1, 1, 20}));
  const auto list = ParseFidelityList(FormatLayerMaps(maps, "smol"));
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 2);
  EXPECT_EQ((*list)[0].name, "smol-3.00");
  EXPECT_EQ((*list)[1].config, maps[1].config);
}

TEST(LayerSearchOptionsTest, RefusesWhatCannotBeSearched) {
  LayerSearchOptions options = Options({4.0});
  EXPECT_TRUE(options.Validate(Model()).ok());
  std::swap(options.k_codecs[0], options.k_codecs[1]);
  EXPECT_EQ(GetErrorInfo(options.Validate(Model()))->reason, "LAYER_SEARCH_INVALID");
  options = Options({});
  EXPECT_FALSE(options.Validate(Model()).ok());
  options = Options({4.0});
  options.v_codecs.clear();
  EXPECT_FALSE(options.Validate(Model()).ok());
}

}  // namespace
}  // namespace kvpareto::tune
