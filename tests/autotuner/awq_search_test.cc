// AWQ's search on a layer of a real engine: its modules compute what the engine computes, scales
// that are folded change nothing, and what is found beats plain rounding.
#include <cmath>

#include "autotuner/awq_activations.h"
#include "autotuner/awq_clip.h"
#include "autotuner/awq_groups.h"
#include "autotuner/awq_module.h"
#include "autotuner/awq_observe.h"
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
    streams_ = *EmbedSamples(*files_, samples);
    for (Matrix& x : streams_) ApplyLayer(config(), *ReadAwqLayer(*files_, 0), 2, x);
    inputs_ = *ObserveLayer(config(), layer_, {.search_samples = 2}, streams_);
    inputs_.attention_weights = inputs_.ffn_weights = std::vector<float>(2 * kSampleTokens, 1.0f);
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
  AwqLayer layer_;               // layer 1
  std::vector<Matrix> streams_;  // before it
  AwqInputs inputs_;
};

TEST_P(AwqSearchTest, LayersComputeWhatTheEngineComputes) {
  for (size_t i = 0; i < samples_.size(); ++i) {
    Matrix x = streams_[i];
    const LayerActivations ours = ApplyLayer(config(), layer_, 2, x);
    const auto expect = [&](LayerInput input, std::span<const float> theirs) {
      const Matrix& found = ours.inputs[static_cast<size_t>(input)];
      ASSERT_EQ(found.values.size(), theirs.size());
      const Matrix seen(found.rows, found.cols, {theirs.begin(), theirs.end()});
      EXPECT_LT(Distance(found, seen), 0.02) << LayerInputName(input);  // keys, values: bf16
    };
    ASSERT_TRUE(engine_
                    ->Observe(samples_[i],
                              [&](const LayerObservation& seen) {
                                if (seen.layer != 1) return;
                                expect(LayerInput::kAttention, seen.attention_input);
                                expect(LayerInput::kAttentionOutput, seen.attention_output);
                                expect(LayerInput::kFfn, seen.ffn_input);
                                expect(LayerInput::kFfnDown, seen.ffn_product);
                              })
                    .ok());
  }
}

TEST_P(AwqSearchTest, MeansAndHessiansAreThoseOfTheRows) {
  const auto expect_hessian = [](const Matrix& x, const std::vector<float>& weights,
                                 const Hessian& found) {
    Hessian hessian(x.cols);
    hessian.Add(x.view(), weights, 1);
    EXPECT_LT(Distance(found.lower(), hessian.lower()), 1e-5);
  };
  const AwqInputs inputs = *ObserveLayer(config(), layer_, {.search_samples = 2}, streams_);
  for (int i = 0; i < kLayerInputs; ++i) {
    const Matrix& rows = inputs.rows[i];
    ASSERT_EQ(rows.rows, 2 * kSampleTokens);
    std::vector<double> sum(rows.cols);
    for (int64_t r = 0; r < rows.rows; ++r) {
      for (int64_t c = 0; c < rows.cols; ++c) sum[c] += std::abs(rows.row(r)[c]);
    }
    for (int64_t c = 0; c < rows.cols; ++c) {
      ASSERT_NEAR(inputs.mean_magnitude[i][c], sum[c] / rows.rows, 1e-5 * sum[c] + 1e-7);
    }
  }
  const auto linear = [&](Linear linear) { return inputs.HessianOf(linear); };
  expect_hessian(inputs[LayerInput::kAttention], {}, linear(Linear::kKey));
  expect_hessian(inputs[LayerInput::kAttention], inputs.value_weights, linear(Linear::kValue));
  expect_hessian(inputs[LayerInput::kAttentionOutput], inputs.attention_weights,
                 linear(Linear::kOutput));
  expect_hessian(inputs[LayerInput::kFfn], {}, linear(Linear::kUp));
  expect_hessian(inputs[LayerInput::kFfnDown], inputs.ffn_weights, linear(Linear::kDown));
}

TEST_P(AwqSearchTest, RefusesActivationsThatOverflow) {
  AwqLayer layer = layer_;
  layer.ffn_norm[3] = 1e30f;
  const absl::Status status =
      ObserveLayer(config(), layer, {.search_samples = 2}, streams_).status();
  ASSERT_TRUE(GetErrorInfo(status).has_value()) << status;
  EXPECT_EQ(GetErrorInfo(status)->reason, "ACTIVATION_NOT_FINITE");
}

// Without queries every token attends alike to all that it sees.
TEST_P(AwqSearchTest, ReceivedIsTheSumOfSquaresOfAttention) {
  AwqLayer layer = layer_;
  std::fill(layer[Linear::kQuery].values.begin(), layer[Linear::kQuery].values.end(), 0.0f);
  std::fill(layer.query_bias.begin(), layer.query_bias.end(), 0.0f);
  std::vector<float> received;
  AttentionModule{&config(), kSampleTokens, 2}.Attend(
      PackedRows(inputs_[LayerInput::kAttention].view()), layer, &received);
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
  const auto expect_inverse_square = [](const float* x, int64_t count, float weight) {
    double square = 0.0;
    for (int64_t c = 0; c < count; ++c) square += double{x[c]} * x[c];
    EXPECT_NEAR(weight * square, 1.0, 1e-4);
  };
  Matrix x = streams_[0];
  const LayerActivations seen = ApplyLayer(config(), layer_, 2, x);
  const Matrix added = LinearOutput(
      PackedRows(seen.inputs[static_cast<size_t>(LayerInput::kAttentionOutput)].view()),
      layer_[Linear::kOutput], 1);
  for (int64_t t = 0; t < x.rows; ++t) {
    std::vector<float> between(x.cols);
    for (int64_t c = 0; c < x.cols; ++c) between[c] = streams_[0].row(t)[c] + added.row(t)[c];
    expect_inverse_square(between.data(), x.cols, seen.attention_weights[t]);
    expect_inverse_square(x.row(t), x.cols, seen.ffn_weights[t]);
  }
}

TEST_P(AwqSearchTest, EmbedsTheSamplesTokens) {
  const std::vector<float> table = *files_->Read("token_embd.weight");
  const std::vector<Matrix> streams = *EmbedSamples(*files_, samples_);
  ASSERT_EQ(streams.size(), 2);
  for (int64_t c = 0; c < config().hidden; ++c) {
    EXPECT_EQ(streams[1].row(7)[c], table[samples_[1][7] * config().hidden + c]);
  }
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
  ClipGroups(inputs[LayerInput::kAttention].view(), inputs.value_weights, 64, 2,
             scaled[Linear::kValue]);
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
