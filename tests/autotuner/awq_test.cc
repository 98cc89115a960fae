// From a model on disk to an AutoAWQ checkpoint that the engine loads.
#include "autotuner/awq.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include "autotuner/perplexity.h"
#include "engine/model_files.h"
#include "gtest/gtest.h"
#include "tests/support/random_blocks.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {
namespace {

namespace fs = std::filesystem;

std::vector<NamedText> Texts() {
  std::string text;
  for (int i = 0; text.size() < 6000; ++i) {
    text += "Sentence " + std::to_string(i * i % 977) + " of a text without meaning. ";
  }
  return {{"text", text}};
}

// Some channels of the residual stream carry most of it, as in real models.
support::TinyModel ModelWithOutliers(const support::TinyModelOptions& options = {}) {
  support::TinyModel model = support::MakeTinyModel(options);
  for (auto& tensor : model.tensors) {
    if (!tensor.name.ends_with("attn_norm.weight") && !tensor.name.ends_with("ffn_norm.weight")) {
      continue;
    }
    std::vector<float> values(tensor.shape[0], 0.7f);
    values[3] = values[60] = 12.0f;
    tensor.data = support::EncodeFloats(TensorType::kF32, values);
  }
  return model;
}

class AwqTest : public testing::Test {
 protected:
  AwqOptions Options(const std::string& model, const std::string& out) const {
    AwqOptions options;
    options.model_path = folder_.File(model);
    options.output_path = folder_.File(out);
    options.group_size = 32;
    options.samples = 8;
    options.sample_tokens = 64;
    options.search_samples = 4;
    options.threads = 2;
    return options;
  }
  AwqOptions Plain(const std::string& model, const std::string& out) const {
    AwqOptions options = Options(model, out);
    options.grid = 0;
    options.clip = false;
    options.rounding = Rounding::kNearest;
    return options;
  }
  std::string Weights(const std::string& out) const {
    return support::ReadBytes(folder_.File(out + "/model.safetensors"));
  }
  std::unique_ptr<Engine> Open(const std::string& model) const {
    EngineOptions options;
    options.model_path = folder_.File(model);
    options.kv_capacity_bytes = uint64_t{32} << 20;
    options.threads = 2;
    options.device = "cpu";
    auto engine = Engine::Create(options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  std::vector<float> Logits(const std::string& model) const {
    // Of other sentences of the kind that Texts() has: their numbers are larger.
    std::vector<int32_t> tokens;
    for (const char c :
         "Sentence 1024 of a text without meaning. Sentence 1036 of a text without ") {
      if (c != 0) tokens.push_back(support::kFirstByte + static_cast<uint8_t>(c));
    }
    std::vector<float> logits;
    const auto status = Open(model)->Score(tokens, KvConfig::Bf16(64), {},
                                           [&](int64_t, std::span<const float> rows) {
                                             logits.insert(logits.end(), rows.begin(), rows.end());
                                           });
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }
  // Root mean square difference of logits.
  double Distance(const std::string& model, const std::string& reference) const {
    const std::vector<float> a = Logits(model), b = Logits(reference);
    double sum = 0.0;
    for (size_t i = 0; i < b.size(); ++i) sum += std::pow(a[i] - b[i], 2);
    return std::sqrt(sum / b.size());
  }

  support::TempDir folder_;
};

TEST_F(AwqTest, QuantizesGgufFilesAndDirectoriesAlike) {
  for (const Architecture architecture :
       {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3, Architecture::kMistral}) {
    const std::string name(ArchitectureName(architecture));
    const support::TinyModel model = ModelWithOutliers(
        {.architecture = architecture, .tied = architecture != Architecture::kQwen2});
    support::WriteGguf(model, folder_.File(name + ".gguf"));
    support::WriteHfDirectory(model, folder_.File(name));
    const auto from_file = QuantizeAwq(Options(name + ".gguf", name + "-1"), Texts());
    const auto from_directory = QuantizeAwq(Options(name, name + "-2"), Texts());
    ASSERT_TRUE(from_file.ok()) << from_file.status();
    ASSERT_TRUE(from_directory.ok()) << from_directory.status();
    EXPECT_EQ(from_file->fingerprint,
              (*ModelFiles::Open(folder_.File(name + "-1")))->fingerprint());
    // Weights and configuration are the same, down to what text is made of.
    EXPECT_EQ(Weights(name + "-1"), Weights(name + "-2"));
    if (architecture != Architecture::kMistral) {  // which GGUF files call Llama
      EXPECT_EQ(from_file->fingerprint, from_directory->fingerprint);
    }
    EXPECT_EQ(Logits(name + "-1"), Logits(name + "-2"));
    EXPECT_EQ(*Open(name + "-1")->Tokenize(Texts()[0].text),
              *Open(name)->Tokenize(Texts()[0].text));
    EXPECT_LT(Distance(name + "-1", name), 0.5) << name;  // of logits with deviation 1
  }
}

TEST_F(AwqTest, BeatsPlainRounding) {
  support::WriteHfDirectory(ModelWithOutliers(), folder_.File("model"));
  const auto rounded = QuantizeAwq(Plain("model", "plain"), {});
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_TRUE(rounded->searched.empty());
  AwqOptions options = Options("model", "nearest");
  options.samples = 64;  // of 64 tokens: many times as many as a layer has inputs
  options.rounding = Rounding::kNearest;
  ASSERT_TRUE(QuantizeAwq(options, Texts()).ok());
  options.output_path = folder_.File("awq");
  options.rounding = Rounding::kGptq;
  const auto found = QuantizeAwq(options, Texts());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->searched.size(), 6);  // two layers, grouped-query attention
  EXPECT_EQ(found->weights_bytes, rounded->weights_bytes);
  EXPECT_LT(Distance("nearest", "model"), 0.85 * Distance("plain", "model"));
  EXPECT_LT(Distance("awq", "model"), 0.9 * Distance("nearest", "model"));
}

TEST_F(AwqTest, TheSameWhateverTheThreads) {
  support::WriteHfDirectory(ModelWithOutliers(), folder_.File("model"));
  ASSERT_TRUE(QuantizeAwq(Options("model", "one"), Texts()).ok());
  AwqOptions other = Options("model", "two");
  other.output_path += "/";
  other.threads = 1;
  ASSERT_TRUE(QuantizeAwq(other, Texts()).ok());
  EXPECT_EQ(Weights("one"), Weights("two"));
  other = Options("model", "three");
  other.seed = 7;
  ASSERT_TRUE(QuantizeAwq(other, Texts()).ok());
  EXPECT_NE(Weights("one"), Weights("three"));
}

std::string Reason(const absl::Status& status) {
  const auto info = GetErrorInfo(status);
  return info.has_value() ? info->reason : status.ToString();
}

TEST_F(AwqTest, RefusesWhatItCannotDo) {
  support::WriteHfDirectory(support::MakeTinyModel(), folder_.File("model"));
  const auto fails = [&](const std::function<void(AwqOptions&)>& change) {
    AwqOptions options = Options("model", "out");
    change(options);
    const absl::Status status = QuantizeAwq(options, Texts()).status();
    EXPECT_FALSE(fs::exists(folder_.File("out.partial"))) << status;
    return Reason(status);
  };
  EXPECT_EQ(fails([](auto& o) { o.group_size = 48; }), "TUNE_OPTION_INVALID");
  EXPECT_EQ(fails([](auto& o) { o.samples = 0; }), "TUNE_OPTION_INVALID");
  EXPECT_EQ(fails([](auto& o) { o.sample_tokens = 5000; }), "TUNE_OPTION_INVALID");
  EXPECT_EQ(fails([](auto& o) { o.samples = 1; }), "TEXT_TOO_SHORT");
  EXPECT_EQ(fails([&](auto& o) { o.output_path = folder_.path(); }), "OUTPUT_EXISTS");
  EXPECT_EQ(fails([&](auto& o) { o.output_path = folder_.File("model/config.json/out"); }),
            "FILE_NOT_WRITABLE");
  support::WriteHfDirectory(support::MakeTinyModel({.hidden = 96, .head_dim = 24 + 8}),
                            folder_.File("narrow"));
  EXPECT_EQ(fails([&](auto& o) {
              o.model_path = folder_.File("narrow");
              o.group_size = 64;
            }),
            "TUNE_OPTION_INVALID");
}

TEST_F(AwqTest, NamesTheTensorThatIsNotFinite) {
  support::TinyModel model = support::MakeTinyModel();
  std::vector<float> values(128 * 256, 0.01f);
  values[1000] = std::numeric_limits<float>::infinity();
  model.tensor("blk.1.ffn_down.weight").data = support::EncodeFloats(TensorType::kF32, values);
  support::WriteHfDirectory(model, folder_.File("model"));
  const AwqOptions options = Plain("model", "out");
  const absl::Status status = QuantizeAwq(options, {}).status();
  EXPECT_EQ(Reason(status), "WEIGHT_NOT_FINITE");
  EXPECT_NE(status.message().find("blk.1.ffn_down.weight"), absl::string_view::npos);
  EXPECT_FALSE(fs::exists(options.output_path));
  EXPECT_FALSE(fs::exists(options.output_path + ".partial"));
}

TEST_F(AwqTest, NamesTheLayerWhoseInputsOverflow) {
  support::TinyModel model = support::MakeTinyModel();
  model.tensor("blk.1.ffn_norm.weight").data =
      support::EncodeFloats(TensorType::kF32, std::vector<float>(128, 1e30f));
  support::WriteGguf(model, folder_.File("model"));
  for (const Rounding rounding : {Rounding::kNearest, Rounding::kGptq}) {
    AwqOptions options = Options("model", "out");
    options.rounding = rounding;
    const absl::Status status = QuantizeAwq(options, Texts()).status();
    EXPECT_EQ(Reason(status), "ACTIVATION_NOT_FINITE");
    EXPECT_NE(status.message().find("layer 1"), absl::string_view::npos) << status;
    EXPECT_FALSE(fs::exists(options.output_path + ".partial"));
  }
}

// Of a model that predicts every token alike, the perplexity is the vocabulary's size.
TEST_F(AwqTest, PerplexityOfIndifferenceIsTheVocabulary) {
  support::TinyModel model = support::MakeTinyModel();
  auto& norm = model.tensor("output_norm.weight");
  norm.data = support::EncodeFloats(TensorType::kF32, std::vector<float>(128, 0.0f));
  support::WriteHfDirectory(model, folder_.File("model"));
  const auto engine = Open("model");
  std::vector<std::vector<int32_t>> windows(3);
  for (int i = 0; i < 120; ++i) windows[i % 3].push_back(support::kFirstByte + i);
  Progress progress("tokens", 120);
  const auto result = MeasurePerplexity(*engine, windows, progress);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->value(), support::kTinyVocab, 1e-3);
  EXPECT_EQ(result->tokens, 117);
  EXPECT_NEAR(result->standard_error, 0.0, 1e-5);
  ASSERT_EQ(result->windows.size(), 3);
  for (const double nll : result->windows) EXPECT_NEAR(std::exp(nll), support::kTinyVocab, 1e-3);
}

}  // namespace
}  // namespace kvpareto::tune
