// AWQ's search on a layer of a real engine: its modules compute what the engine computes, scales
// that are folded change nothing, and what is found beats plain rounding.
#include <cmath>

#include "autotuner/awq_clip.h"
#include "autotuner/awq_groups.h"
#include "autotuner/awq_module.h"
#include "autotuner/awq_observe.h"
#include "autotuner/awq_residual.h"
#include "autotuner/awq_scales.h"
#include "gtest/gtest.h"
#include "tests/autotuner/synthetic_layers.h"
#include "tests/support/random_blocks.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {
namespace {

constexpr int kSampleTokens = 96;

double Distance(const Matrix& a, const Matrix& b) {
  double difference = 0.0, square = 0.0;
  for (size_t i = 0; i < b.values.size(); ++i) {
    difference += std::pow(a.values[i] - b.values[i], 2);
    square += std::pow(b.values[i], 2);
  }
  return std::sqrt(difference / square);
}

// Layer 1 of a tiny model, and what its linear layers see of two samples.
class AwqSearchTest : public testing::TestWithParam<Architecture> {
 protected:
  AwqSearchTest() {
    support::TinyModel model = support::MakeTinyModel(
        {.architecture = GetParam(),
         .heads = 4,
         // Llama has as many KV heads as query heads here: its values can be scaled.
         .kv_heads = GetParam() == Architecture::kLlama ? 4 : 2,
         .sliding_window = GetParam() == Architecture::kMistral ? 40 : 0});
    // A few channels carry much larger activations, as in real models.
    for (const char* norm : {"blk.1.attn_norm.weight", "blk.1.ffn_norm.weight"}) {
      std::vector<float> values(128, 1.0f);
      values[5] = values[77] = 30.0f;
      model.tensor(norm).data = support::EncodeFloats(TensorType::kF32, values);
    }
    support::WriteHfDirectory(model, folder_.path(), {.type = TensorType::kBf16});
    EngineOptions options;
    options.model_path = folder_.path();
    options.kv_capacity_bytes = uint64_t{32} << 20;
    options.threads = 2;
    options.isa = "scalar";  // float products
    options.device = "cpu";
    engine_ = *Engine::Create(options);
    files_ = *ModelFiles::Open(folder_.path());
    layer_ = *ReadAwqLayer(*files_, 1);
    std::vector<std::vector<int32_t>> samples(2);
    for (int i = 0; i < 2 * kSampleTokens; ++i) {
      samples[i % 2].push_back(support::kFirstByte + i * i % 251);
    }
    samples_ = samples;
    inputs_ = (*ObserveRows(*engine_, samples, 1, 2))[0];
    inputs_.attention_weights = inputs_.ffn_weights = std::vector<float>(2 * kSampleTokens, 1.0f);
    Progress progress("tokens", 2 * kSampleTokens);
    inputs_.mean_magnitude = (*ObserveMeans(*engine_, samples, progress))[1];
  }

  const ModelConfig& config() const { return files_->config(); }
  Matrix Attention(const AwqLayer& layer, const AwqInputs& inputs) const {
    return AttentionModule{&config(), kSampleTokens, 2}.Output(
        PackedRows(inputs[LayerInput::kAttention].view()), layer);
  }
  Matrix Ffn(const AwqLayer& layer, const AwqInputs& inputs) const {
    return FfnOutput(PackedRows(inputs[LayerInput::kFfn].view()), layer, 2);
  }

  support::TempDir folder_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ModelFiles> files_;
  std::vector<std::vector<int32_t>> samples_;
  AwqLayer layer_;
  AwqInputs inputs_;
};

TEST_P(AwqSearchTest, ModulesComputeWhatTheEngineComputes) {
  const Matrix attention = LinearOutput(PackedRows(inputs_[LayerInput::kAttentionOutput].view()),
                                        layer_[Linear::kOutput], 2);
  EXPECT_LT(Distance(Attention(layer_, inputs_), attention), 0.01);  // keys and values are bf16
  const Matrix ffn =
      LinearOutput(PackedRows(inputs_[LayerInput::kFfnDown].view()), layer_[Linear::kDown], 2);
  EXPECT_LT(Distance(Ffn(layer_, inputs_), ffn), 1e-4);
}

TEST_P(AwqSearchTest, MeansAreThoseOfTheRows) {
  for (int i = 0; i < kLayerInputs; ++i) {
    const Matrix& rows = inputs_.rows[i];
    std::vector<double> sum(rows.cols);
    for (int64_t r = 0; r < rows.rows; ++r) {
      for (int64_t c = 0; c < rows.cols; ++c) sum[c] += std::abs(rows.row(r)[c]);
    }
    for (int64_t c = 0; c < rows.cols; ++c) {
      ASSERT_NEAR(inputs_.mean_magnitude[i][c], sum[c] / rows.rows, 1e-5 * sum[c] + 1e-7);
    }
  }
}

// Without queries every token attends alike to all that it sees.
TEST_P(AwqSearchTest, ReceivedIsTheSumOfSquaresOfAttention) {
  AwqLayer layer = layer_;
  std::fill(layer[Linear::kQuery].values.begin(), layer[Linear::kQuery].values.end(), 0.0f);
  std::fill(layer.query_bias.begin(), layer.query_bias.end(), 0.0f);
  const std::vector<float> received = AttentionModule{&config(), kSampleTokens, 2}.Received(
      PackedRows(inputs_[LayerInput::kAttention].view()), layer);
  ASSERT_EQ(received.size(), 2 * kSampleTokens);
  const int window = config().sliding_window > 0 ? config().sliding_window : kSampleTokens;
  for (int t = 0; t < kSampleTokens; ++t) {
    double expected = 0.0;
    for (int query = t; query < std::min(t + window, kSampleTokens); ++query) {
      expected += config().heads * std::pow(1.0 / std::min(query + 1, window), 2);
    }
    EXPECT_NEAR(received[t], expected, 1e-5 * expected) << t;
    EXPECT_NEAR(received[kSampleTokens + t], expected, 1e-5 * expected) << t;
  }
}

TEST_P(AwqSearchTest, ErrorsCountBySizeInTheResidualStream) {
  auto residual = AwqResidual::Embed(*files_, samples_);
  ASSERT_TRUE(residual.ok()) << residual.status();
  const std::vector<float> table = *files_->Read("token_embd.weight");
  const int64_t hidden = config().hidden;
  const Matrix added(2 * kSampleTokens, hidden, RandomFloats(2 * kSampleTokens * hidden, 0, 1, 3));
  const auto expect_weights = [&](float share) {
    const std::vector<float> weights = residual->Weights();
    for (int64_t t = 0; t < added.rows; ++t) {
      const int32_t token = samples_[t / kSampleTokens][t % kSampleTokens];
      double square = 0.0;
      for (int64_t c = 0; c < hidden; ++c) {
        square += std::pow(table[token * hidden + c] + share * added.row(t)[c], 2);
      }
      EXPECT_NEAR(weights[t] * square, 1.0, 1e-4) << t;
    }
  };
  expect_weights(0.0f);
  residual->Add(added);
  expect_weights(1.0f);
}

TEST_P(AwqSearchTest, FoldedScalesChangeNothing) {
  AwqLayer layer = layer_;
  AwqInputs inputs = inputs_;
  const auto found =
      SearchScales(config(), layer, inputs, {.group_size = 32, .grid = 4, .threads = 2});
  EXPECT_EQ(found.size(), GetParam() == Architecture::kLlama ? 4 : 3);
  for (const AwqScales& scales : found) ApplyScales(scales, layer, inputs);
  EXPECT_NE(layer.attention_norm, layer_.attention_norm);
  EXPECT_LT(Distance(Attention(layer, inputs), Attention(layer_, inputs_)), 1e-5);
  EXPECT_LT(Distance(Ffn(layer, inputs), Ffn(layer_, inputs_)), 1e-5);
  // What feeds the projections is divided: norms, values and up.
  for (size_t i = 0; i < layer.ffn_norm.size(); ++i) {
    const float scale = layer_.ffn_norm[i] / layer.ffn_norm[i];
    EXPECT_NEAR(inputs[LayerInput::kFfn].row(3)[i] * scale, inputs_[LayerInput::kFfn].row(3)[i],
                1e-5 * std::abs(inputs_[LayerInput::kFfn].row(3)[i]));
  }
}

void Round(int group_size, AwqLayer& layer) {
  for (Matrix& w : layer.linears) RoundToGroups(group_size, w.values.data(), w.values.size());
}

TEST_P(AwqSearchTest, BeatsPlainRoundingWhereChannelsStandOut) {
  AwqLayer plain = layer_, scaled = layer_;
  AwqInputs inputs = inputs_;
  Round(64, plain);
  const auto found = SearchScales(config(), layer_, inputs_, {.group_size = 64, .threads = 2});
  for (const AwqScales& scales : found) {
    EXPECT_LE(scales.error, scales.rounding_error);
    ApplyScales(scales, scaled, inputs);
  }
  const MatrixView x = inputs[LayerInput::kAttention].view();
  const AttentionModule module{&config(), kSampleTokens, 2};
  ClipGroups(x, module.Received(PackedRows(x), scaled), 64, 2, scaled[Linear::kValue]);
  Round(64, scaled);
  const Matrix attention = Attention(layer_, inputs_), ffn = Ffn(layer_, inputs_);
  EXPECT_LT(Distance(Attention(scaled, inputs), attention),
            0.75 * Distance(Attention(plain, inputs_), attention));
  EXPECT_LT(Distance(Ffn(scaled, inputs), ffn), 0.7 * Distance(Ffn(plain, inputs_), ffn));
}

INSTANTIATE_TEST_SUITE_P(Architectures, AwqSearchTest,
                         testing::Values(Architecture::kLlama, Architecture::kQwen2,
                                         Architecture::kQwen3, Architecture::kMistral),
                         [](const auto& i) { return std::string(ArchitectureName(i.param)); });

// One weight that its input never excites ruins the group's steps: cutting it costs nothing.
TEST(AwqClip, CutsWhatDoesNotMatter) {
  Matrix x(64, 32, RandomFloats(64 * 32, 0.0f, 1.0f, 1));
  for (int64_t t = 0; t < x.rows; ++t) x.row(t)[9] = 0.0f;
  Matrix w(8, 32, RandomFloats(8 * 32, 0.0f, 0.1f, 2));
  for (int64_t r = 0; r < w.rows; ++r) w.row(r)[9] = r < 4 ? 1.0f : 0.0f;
  Matrix clipped = w;
  ClipGroups(x.view(), std::vector<float>(64, 1.0f), 32, 2, clipped);
  const PackedRows packed(x.view());
  const Matrix exact = LinearOutput(packed, w, 1);
  const auto error = [&](Matrix rounded) {
    RoundToGroups(32, rounded.values.data(), rounded.values.size());
    return Distance(LinearOutput(packed, rounded, 1), exact);
  };
  for (int64_t r = 0; r < 4; ++r) EXPECT_LE(clipped.row(r)[9], 0.75f);
  EXPECT_LT(error(clipped), 0.8 * error(w));
}

// One token a thousand times as large as the others: with weights to match, what is cut is right
// for the others.
TEST(AwqClip, TokensCountByTheirWeights) {
  const Matrix usual(63, 32, RandomFloats(63 * 32, 0.0f, 1.0f, 1));
  Matrix x = usual;
  const std::vector<float> massive = RandomFloats(32, 0.0f, 1000.0f, 3);
  x.values.insert(x.values.end(), massive.begin(), massive.end());
  ++x.rows;
  const Matrix w(64, 32, RandomFloats(64 * 32, 0.0f, 0.1f, 2));
  const PackedRows packed(usual.view());
  const Matrix exact = LinearOutput(packed, w, 1);
  const auto error_when_clipped_on = [&](const Matrix& tokens, float last_weight) {
    std::vector<float> weights(tokens.rows, 1.0f);
    weights.back() = last_weight;
    Matrix clipped = w;
    ClipGroups(tokens.view(), weights, 32, 1, clipped);
    RoundToGroups(32, clipped.values.data(), clipped.values.size());
    return Distance(LinearOutput(packed, clipped, 1), exact);
  };
  const double best = error_when_clipped_on(usual, 1.0f);
  EXPECT_LT(error_when_clipped_on(x, 1e-6f), 1.05 * best);
  EXPECT_GT(error_when_clipped_on(x, 1.0f), 1.05 * best);
}

}  // namespace
}  // namespace kvpareto::tune
