// A calibration from end to end: a tiny random model with a key bias, its texts, the file, and an
// engine that serves with it.
#include "autotuner/calibrate.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "autotuner/calibration_clips.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"
#include "tests/support/random_blocks.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {
namespace {

std::string Text(size_t bytes, int seed) {
  std::string text;
  for (int i = seed; text.size() < bytes; ++i) {
    text += "Sentence " + std::to_string(i * i % 977) + " of a text without meaning. ";
  }
  return text;
}

// Of layer 0; layer 1 has one that is too small to matter.
std::vector<float> LargeBias() { return RandomFloats(2 * 64, 0.0f, 12.0f, 8); }

class CalibrateTest : public testing::Test {
 protected:
  CalibrateTest() { Write("biased.gguf", LargeBias()); }

  void Write(const std::string& name, const std::vector<float>& bias) {
    support::TinyModel model = support::MakeTinyModel(
        {.architecture = Architecture::kQwen2, .head_dim = 64, .context_tokens = 2048});
    model.tensor("blk.0.attn_k.bias").data = support::EncodeFloats(TensorType::kF32, bias);
    model.tensor("blk.1.attn_k.bias").data =
        support::EncodeFloats(TensorType::kF32, RandomFloats(2 * 64, 0.0f, 0.01f, 9));
    support::WriteGguf(model, folder_.File(name));
  }

  std::unique_ptr<Engine> Open(const std::string& name, const std::string& calibration = "") {
    EngineOptions options;
    options.model_path = folder_.File(name);
    options.calibration_path = calibration;
    options.kv_capacity_bytes = uint64_t{64} << 20;
    options.threads = 2;
    auto engine = Engine::Create(options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  static TextPieces Pieces(const Engine& engine) {
    auto pieces = CutPieces(engine, {{"one", Text(4000, 0)}, {"two", Text(4000, 50)}}, 1500, 1024);
    EXPECT_TRUE(pieces.ok()) << pieces.status();
    return *std::move(pieces);
  }

  static CalibrationResult Make(Engine& engine) {
    auto result = Calibrate(engine, Pieces(engine), {.sampled_tiles = 2, .threads = 2});
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }

  static std::vector<float> Score(Engine& engine, const std::string& config) {
    std::vector<float> all;
    const auto parsed = KvConfig::Parse(config);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const TextPieces pieces = Pieces(engine);
    const absl::Status status = engine.Score(std::span(pieces.pieces[0]).first(500), *parsed, {},
                                             [&](int64_t, std::span<const float> logits) {
                                               all.insert(all.end(), logits.begin(), logits.end());
                                             });
    EXPECT_TRUE(status.ok()) << config << ": " << status;
    return all;
  }

  static double Distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0.0;
    for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum / a.size());
  }

  support::TempDir folder_;
};

TEST_F(CalibrateTest, FileIsCompleteAndLoads) {
  const auto engine = Open("biased.gguf");
  const CalibrationResult result = Make(*engine);
  const std::string path = folder_.File("calibration.safetensors");
  ASSERT_TRUE(SaveCalibration(result.calibration, path).ok());
  const auto loaded = LoadCalibration(path, engine->model().config, engine->model().fingerprint);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (const auto& [name, tensor] : result.calibration.tensors) {
    ASSERT_NE(loaded->Find(name), nullptr) << name;
    EXPECT_EQ(loaded->Find(name)->values, tensor.values) << name;
  }
  for (const char* name : {"key_bias", "key_mean", "key_mean_unbiased", "value_mean"}) {
    EXPECT_NE(loaded->Find(name), nullptr) << name;
  }
  const std::string codecs[] = {"int4-token", "int3-channel", "int2-token-g32"};
  for (const std::string& codec : codecs) {
    EXPECT_NE(loaded->Find("k_clip.unbiased-center-balanced." + codec), nullptr) << codec;
    EXPECT_NE(loaded->Find("v_clip.balanced." + codec), nullptr) << codec;
  }
  EXPECT_NE(loaded->text.find("two (sha256 "), std::string::npos) << loaded->text;
}

TEST_F(CalibrateTest, FlagsTheLayerWithTheLargeBias) {
  const auto engine = Open("biased.gguf");
  const CalibrationResult result = Make(*engine);
  ASSERT_EQ(result.bias.size(), 2u);
  EXPECT_TRUE(result.bias[0].flagged);
  EXPECT_FALSE(result.bias[1].flagged);
  const std::vector<float>& written = result.calibration.Find("key_bias")->values;
  std::vector<float> expected = LargeBias();
  expected.resize(written.size(), 0.0f);
  EXPECT_EQ(written, expected);
}

// The first layer's keys of the same model without the bias are what is left after its removal.
TEST_F(CalibrateTest, RemovalLeavesTheKeysOfAModelWithoutBias) {
  Write("plain.gguf", std::vector<float>(2 * 64, 0.0f));
  const auto biased = Open("biased.gguf"), plain = Open("plain.gguf");
  const CalibrationResult a = Make(*biased), b = Make(*plain);
  for (const char* name : {"key_mean_unbiased", "key_rotation.balanced", "k_range.unbiased"}) {
    const auto& x = a.calibration.Find(name)->values;
    const auto& y = b.calibration.Find(name)->values;
    for (size_t i = 0; i < x.size() / 2; ++i) {  // layer 0
      // Keys near 40 in float, 2^-24 of it a few times; the transform follows continuously.
      ASSERT_NEAR(x[i], y[i], 2e-3) << name << " " << i;
    }
  }
  EXPECT_NE(a.calibration.Find("key_mean")->values, b.calibration.Find("key_mean")->values);
}

TEST_F(CalibrateTest, SameInputSameFile) {
  const auto engine = Open("biased.gguf");
  const CalibrationResult a = Make(*engine), b = Make(*engine);
  for (const auto& [name, tensor] : a.calibration.tensors) {
    EXPECT_EQ(tensor.values, b.calibration.Find(name)->values) << name;
  }
}

TEST_F(CalibrateTest, EngineScoresWithIt) {
  const std::string path = folder_.File("calibration.safetensors");
  {
    const auto engine = Open("biased.gguf");
    ASSERT_TRUE(SaveCalibration(Make(*engine).calibration, path).ok());
  }
  const auto engine = Open("biased.gguf", path);
  const std::vector<float> exact = Score(*engine, "k=bf16 v=bf16 sink=0 chunk=64");
  const auto distance = [&](const std::string& config) {
    return Distance(exact, Score(*engine, config + " sink=0 chunk=64"));
  };
  const std::string removed = " krot=balanced vrot=balanced kcenter=static kbias=remove";
  // The bias takes nearly all of four bits; without it they are left for the keys.
  const double plain = distance("k=int4-token v=int4-token");
  const double better = distance("k=int4-token v=int4-token" + removed);
  EXPECT_LT(better, plain / 2);
  // Transforms alone change nothing but where bf16 rounds: its 8 bits against 4.
  EXPECT_LT(distance("k=bf16 v=bf16" + removed), better / 3);
  EXPECT_LT(distance("k=int8-tensor v=int8-tensor" + removed), better);
  // Logits have a standard deviation of about 1: with two bits something of them is left.
  for (const char* clips : {" kclip=auto vclip=auto", " kclip=0.9"}) {
    EXPECT_LT(distance("k=int2-channel v=int2-token-g32" + removed + clips), 0.7) << clips;
  }
}

TEST_F(CalibrateTest, TextsTakeTurns) {
  const auto engine = Open("biased.gguf");
  const std::vector<NamedText> texts = {{"long", Text(4000, 0)}, {"short", Text(400, 7)}};
  const auto count = [&](const NamedText& text) {
    return static_cast<int64_t>(engine->Tokenize(text.text)->size());
  };
  const auto some = CutPieces(*engine, texts, 300, 1024);
  ASSERT_TRUE(some.ok()) << some.status();
  ASSERT_EQ(some->pieces.size(), 2u);
  EXPECT_EQ(some->pieces[0].size(), 150u);
  EXPECT_EQ(some->pieces[1].size(), 150u);
  EXPECT_EQ(some->tokens, 300);
  // A text that is too short is used whole; the other one fills in.
  const int64_t all = count(texts[0]) + count(texts[1]);
  const auto many = CutPieces(*engine, texts, all - 100, 128);
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_EQ(many->tokens, all - 100);
  for (const auto& piece : many->pieces) EXPECT_LE(piece.size(), 128u);
  EXPECT_EQ(CutPieces(*engine, texts, 10 * all, 1024)->tokens, all);

  const auto none = CutPieces(*engine, {{"tiny", "a"}}, 1000, 1024).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorInfo(none)->reason, "TEXT_TOO_SHORT");
  const auto broken = CutPieces(*engine, {{"broken", Text(2000, 0) + "\xff"}}, 1000, 1024).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(broken.message()).find("broken"), std::string::npos) << broken;
}

TEST_F(CalibrateTest, EveryPieceBeginsWithBos) {
  support::WriteGguf(support::MakeTinyModel({.head_dim = 64, .sentencepiece = true}),
                     folder_.File("bos.gguf"));
  const auto engine = Open("bos.gguf");
  const int32_t bos = engine->model().config.bos_token;
  ASSERT_EQ(engine->Tokenize(std::string("a"))->front(), bos);
  const auto pieces = CutPieces(*engine, {{"one", Text(4000, 0)}}, 1000, 400);
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  ASSERT_EQ(pieces->pieces.size(), 3u);
  EXPECT_EQ(pieces->tokens, 1000);
  for (const auto& piece : pieces->pieces) {
    EXPECT_EQ(piece.front(), bos);
    EXPECT_NE(piece[1], bos);
  }
}

TEST_F(CalibrateTest, OptionsAreChecked) {
  const auto engine = Open("biased.gguf");
  const auto status = Calibrate(*engine, Pieces(*engine), {.sampled_tiles = 0}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kvpareto::tune
