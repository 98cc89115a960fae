// Transforms of keys and values in the whole engine: what is exact in theory leaves the logits as
// they are, whatever the calibrated numbers; codecs work behind every transform.
#include <cmath>
#include <random>

#include "engine/model/calibration.h"
#include "tests/engine/engine_fixture.h"

namespace kvpareto {
namespace {

constexpr int kTokens = 300;
constexpr char kExact[] = "k=f32 v=f32 sink=0 recent=0 chunk=128";
constexpr char kBf16[] = "k=bf16 v=bf16 sink=0 recent=0 chunk=128";
constexpr char kEverything[] =
    " krot=balanced vrot=oscar kcenter=static vcenter=static kbias=remove";
const char* const kTransforms[] = {
    " krot=hadamard",  " vrot=hadamard",
    " krot=balanced",  " vrot=oscar",
    " kcenter=static", " vcenter=static",
    " kbias=remove",   " kbias=remove kcenter=static krot=hadamard vrot=balanced",
    kEverything};

struct Model {
  const char* name;
  Architecture architecture;
  int head_dim;
};

void PrintTo(const Model& model, std::ostream* os) { *os << model.name; }

class TransformTest : public EngineTest, public testing::WithParamInterface<Model> {
 protected:
  TransformTest() {
    const Model& model = GetParam();
    support::TinyModel tiny = support::MakeTinyModel({.architecture = model.architecture,
                                                      .layers = 2,
                                                      .hidden = 128,
                                                      .heads = 4,
                                                      .kv_heads = 2,
                                                      .head_dim = model.head_dim,
                                                      .ffn = 128,
                                                      .context_tokens = kContext,
                                                      .seed = 8});
    if (model.architecture == Architecture::kQwen2) {
      // As in real ones, the first layer's key bias is far larger than what tokens add to it.
      auto& bias = tiny.tensor("blk.0.attn_k.bias");
      auto* values = reinterpret_cast<float*>(bias.data.data());
      for (int64_t i = 0; i < bias.shape[0]; ++i) values[i] *= 50.0f;
    }
    support::WriteGguf(tiny, dir_.File("transformed.gguf"));
    options_.model_path = dir_.File("transformed.gguf");
    options_.kv_capacity_bytes = uint64_t{128} << 20;
  }

  // A calibration of random numbers: exactness does not depend on what was measured. The key bias
  // is the model's, of layer 0 only.
  Calibration RandomCalibration() const {
    const ModelConfig& model = engine_->model().config;
    const int64_t l = model.layers, h = model.kv_heads, d = model.head_dim;
    Calibration calibration{.fingerprint = engine_->model().fingerprint, .text = "random"};
    std::mt19937 rng(23);
    std::normal_distribution<float> normal;
    for (const char* name : {"key_mean", "key_mean_unbiased", "value_mean"}) {
      std::vector<float> values(l * h * d);
      for (float& x : values) x = normal(rng);
      calibration.tensors[name] = {.shape = {l, h, d}, .values = values};
    }
    for (const char* name : {"key_rotation.oscar", "key_rotation.balanced", "value_rotation.oscar",
                             "value_rotation.balanced"}) {
      // Singular values of about 0.5 to 1.5: no rotation, but well invertible.
      std::vector<float> values(l * h * d * d);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = 0.25f * normal(rng) / std::sqrt(static_cast<float>(d)) +
                    (i / d % d == i % d ? 1.0f : 0.0f);
      }
      calibration.tensors[name] = {.shape = {l, h, d, d}, .values = values};
    }
    std::vector<float> bias(l * h * d);
    const auto status = engine_->VisitAttentionWeights([&](const AttentionWeights& weights) {
      if (weights.layer == 0) std::ranges::copy(weights.key_bias, bias.begin());
    });
    EXPECT_TRUE(status.ok()) << status;
    calibration.tensors["key_bias"] = {.shape = {l, h, d}, .values = bias};
    return calibration;
  }

  void StartCalibrated(const std::string& isa = "auto") {
    options_.isa = isa;
    options_.calibration_path.clear();
    Start();
    const std::string path = dir_.File("calibration.safetensors");
    ASSERT_TRUE(SaveCalibration(RandomCalibration(), path).ok());
    options_.calibration_path = path;
    Start();
  }

  std::vector<float> Score(const std::string& config, int64_t decode_from = -1) {
    const auto parsed = KvConfig::Parse(config);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    std::vector<float> all;
    const absl::Status status =
        engine_->Score(Tokens(kTokens, 6), *parsed, {.decode_from = decode_from},
                       [&](int64_t, std::span<const float> logits) {
                         all.insert(all.end(), logits.begin(), logits.end());
                       });
    EXPECT_TRUE(status.ok()) << config << ": " << status;
    return all;
  }

  static double Rms(const std::vector<float>& a, const std::vector<float>& b) {
    EXPECT_EQ(a.size(), b.size());
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    return std::sqrt(sum / static_cast<double>(a.size()));
  }
};

INSTANTIATE_TEST_SUITE_P(Models, TransformTest,
                         testing::Values(Model{"llama_d64", Architecture::kLlama, 64},
                                         Model{"llama_d80", Architecture::kLlama, 80},
                                         Model{"qwen2_d64", Architecture::kQwen2, 64},
                                         Model{"qwen2_d96", Architecture::kQwen2, 96}),
                         [](const auto& info) { return std::string(info.param.name); });

// Keys and values kept as floats: what is left is rounding. One unit in the last place of a score
// with the whole bias is the scale; the scalar backend sums attention in double. Logits have a
// standard deviation of about 1, and what bf16 keys alone do to them is 100 times more.
TEST_P(TransformTest, ExactOverAFloatCache) {
  StartCalibrated("scalar");
  const auto plain = Score(kExact);
  const auto plain_decoded = Score(kExact, 0);
  const double bf16 = Rms(Score(kBf16), plain);
  ASSERT_GT(bf16, 1e-4);
  for (const char* transform : kTransforms) {
    SCOPED_TRACE(transform);
    EXPECT_LT(Rms(Score(kExact + std::string(transform)), plain), bf16 / 100);
    EXPECT_LT(Rms(Score(kExact + std::string(transform), 0), plain_decoded), bf16 / 100);
  }
}

// The same on the fast backend with a bf16 cache: no transform adds to the error that the bf16
// cache and bf16 products have anyway. The random matrices stretch a direction by up to 1.5 and
// shrink another by 2, which rounding errors follow.
TEST_P(TransformTest, ABf16CacheKeepsItsNoiseFloor) {
  StartCalibrated();
  const auto exact = Score(kExact, 0);
  const double prefill_floor = Rms(Score(kBf16), exact);
  const double decode_floor = Rms(Score(kBf16, 0), exact);
  for (const char* transform : kTransforms) {
    SCOPED_TRACE(transform);
    EXPECT_LT(Rms(Score(kBf16 + std::string(transform)), exact), 3 * prefill_floor);
    EXPECT_LT(Rms(Score(kBf16 + std::string(transform), 0), exact), 3 * decode_floor);
  }
}

TEST_P(TransformTest, CodecsWorkBehindEveryTransform) {
  StartCalibrated();
  const auto exact = Score(kExact, 0);
  for (const char* transform : kTransforms) {
    SCOPED_TRACE(transform);
    const auto error = [&](const std::string& codecs) {
      return Rms(Score(codecs + " sink=16 recent=0 chunk=128" + transform, 128), exact);
    };
    const double int8 = error("k=int8-channel v=int8-token");
    const double int4 = error("k=int4-channel v=int4-token");
    EXPECT_GT(int4, 0.0);
    EXPECT_LT(int8, int4);
    EXPECT_LT(int4, 0.5);
  }
}

class LargeKeyBiasTest : public TransformTest {};
INSTANTIATE_TEST_SUITE_P(Models, LargeKeyBiasTest,
                         testing::Values(Model{"qwen2_d64", Architecture::kQwen2, 64},
                                         Model{"qwen2_d96", Architecture::kQwen2, 96}),
                         [](const auto& info) { return std::string(info.param.name); });

// What exact removal is for: per-token scales that must span a large bias leave nothing for the
// token's own part.
TEST_P(LargeKeyBiasTest, RemovalSavesPerTokenKeys) {
  StartCalibrated();
  const auto exact = Score(kExact, 0);
  const std::string int4 = "k=int4-token v=bf16 sink=0 recent=0 chunk=64";
  EXPECT_LT(Rms(Score(int4 + " kbias=remove"), exact), 0.5 * Rms(Score(int4), exact));
}

TEST_P(TransformTest, RefusesWhatTheCalibrationLacks) {
  Start();
  struct Case {
    const char* words;
    const char* tensor;
  };
  const Case cases[] = {{"krot=oscar", "key_rotation.oscar"},
                        {"vrot=balanced", "value_rotation.balanced"},
                        {"kcenter=static", "key_mean"},
                        {"vcenter=static", "value_mean"},
                        {"kbias=remove", "key_bias"},
                        {"kclip=auto", "k_clip.plain.int4-token"},
                        {"vclip=auto vrot=hadamard", "v_clip.hadamard.int4-token"}};
  const std::string codecs = "k=int4-token v=int4-token ";
  for (const auto& [words, tensor] : cases) {
    const absl::Status status = engine_->Prepare(Greedy(100, 2, codecs + words)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << words;
    EXPECT_EQ(Reason(status), "CALIBRATION_MISSING") << words;
    ASSERT_TRUE(GetErrorInfo(status).has_value());
    EXPECT_EQ(GetErrorInfo(status)->metadata.at("tensor"), tensor) << words;
  }
  EXPECT_TRUE(engine_->Prepare(Greedy(100, 2, codecs + "krot=hadamard kclip=0.9")).ok());
  // A file that holds other things than the config wants.
  StartCalibrated();
  EXPECT_TRUE(engine_->Prepare(Greedy(100, 2, codecs + "krot=oscar")).ok());
  EXPECT_EQ(Reason(engine_->Prepare(Greedy(100, 2, codecs + "kclip=auto")).status()),
            "CALIBRATION_MISSING");
}

TEST_P(TransformTest, RequestsOfDifferentTransformsShareSteps) {
  StartCalibrated();
  std::vector<Request> requests;
  int seed = 0;
  for (const char* transform :
       {"", " krot=hadamard", kEverything, " kbias=remove", " vrot=oscar"}) {
    requests.push_back(Greedy(
        150 + 40 * seed, 20,
        "k=int8-channel v=int8-token sink=16 recent=0 chunk=64" + std::string(transform), seed));
    ++seed;
  }
  std::vector<std::vector<int32_t>> alone;
  for (const Request& request : requests) alone.push_back(Run(request));
  std::vector<std::shared_ptr<Collector>> sinks;
  for (const Request& request : requests) sinks.push_back(Submit(request));
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    EXPECT_EQ(alone[i].size(), 20u);
    EXPECT_EQ(sinks[i]->tokens(), alone[i]) << i;
  }
}

}  // namespace
}  // namespace kvpareto
