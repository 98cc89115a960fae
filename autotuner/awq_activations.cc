#include "autotuner/awq_activations.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "autotuner/awq_module.h"

namespace kvpareto::tune {
namespace {

double SumOfSquares(const float* x, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += double{x[i]} * x[i];
  return sum;
}

Matrix RmsNorm(const Matrix& x, const std::vector<float>& weight, float epsilon) {
  Matrix y(x.rows, x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double mean = SumOfSquares(x.row(t), x.cols) / static_cast<double>(x.cols);
    const float inverse = static_cast<float>(1.0 / std::sqrt(mean + epsilon));
    for (int64_t c = 0; c < x.cols; ++c) y.row(t)[c] = x.row(t)[c] * inverse * weight[c];
  }
  return y;
}

void Add(const Matrix& y, Matrix& x) {
  std::transform(x.values.begin(), x.values.end(), y.values.begin(), x.values.begin(),
                 std::plus<>());
}

// 1 / |x_t|^2 of every token t; of zeros: 1.
std::vector<float> InverseSquares(const Matrix& x) {
  std::vector<float> weights(x.rows, 1.0f);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double square = SumOfSquares(x.row(t), x.cols);
    if (square > 0.0) weights[t] = static_cast<float>(1.0 / square);
  }
  return weights;
}

}  // namespace

absl::StatusOr<std::vector<Matrix>> EmbedSamples(const ModelFiles& files,
                                                 const std::vector<std::vector<int32_t>>& samples) {
  std::vector<Matrix> streams;
  for (const auto& sample : samples) {
    Matrix x(0, files.config().hidden);
    for (const int32_t token : sample) {
      KVP_ASSIGN_OR_RETURN(const std::vector<float> row,
                           files.ReadRows("token_embd.weight", token, 1));
      x.values.insert(x.values.end(), row.begin(), row.end());
      ++x.rows;
    }
    streams.push_back(std::move(x));
  }
  return streams;
}

LayerActivations ApplyLayer(const ModelConfig& config, const AwqLayer& layer, int threads,
                            Matrix& x) {
  LayerActivations seen;
  const auto input = [&](LayerInput which) -> Matrix& {
    return seen.inputs[static_cast<size_t>(which)];
  };
  const auto output_of = [&](Linear linear) {
    return LinearOutput(PackedRows(input(InputOf(linear)).view()), layer[linear], threads);
  };
  input(LayerInput::kAttention) = RmsNorm(x, layer.attention_norm, config.rms_epsilon);
  const AttentionModule attention{&config, static_cast<int>(x.rows), threads};
  input(LayerInput::kAttentionOutput) = attention.Attend(
      PackedRows(input(LayerInput::kAttention).view()), layer, &seen.value_weights);
  Add(output_of(Linear::kOutput), x);
  seen.attention_weights = InverseSquares(x);
  input(LayerInput::kFfn) = RmsNorm(x, layer.ffn_norm, config.rms_epsilon);
  input(LayerInput::kFfnDown) =
      FfnProduct(PackedRows(input(LayerInput::kFfn).view()), layer, threads);
  Add(output_of(Linear::kDown), x);
  seen.ffn_weights = InverseSquares(x);
  return seen;
}

}  // namespace kvpareto::tune
