#include "autotuner/awq_scales.h"

#include <algorithm>
#include <cmath>

#include "autotuner/awq_groups.h"
#include "autotuner/awq_module.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

std::vector<Linear> LinearsOf(LayerInput input) {
  std::vector<Linear> linears;
  for (int i = 0; i < kLinears; ++i) {
    if (InputOf(static_cast<Linear>(i)) == input) linears.push_back(static_cast<Linear>(i));
  }
  return linears;
}

// Mean over all outputs of |w| relative to the largest of its group, [in].
std::vector<float> MeanRelativeWeight(const AwqLayer& layer, const std::vector<Linear>& linears,
                                      int group_size) {
  std::vector<double> sum(layer[linears[0]].cols);
  int64_t rows = 0;
  for (const Linear linear : linears) {
    const Matrix& w = layer[linear];
    rows += w.rows;
    for (int64_t r = 0; r < w.rows; ++r) {
      for (int64_t first = 0; first < w.cols; first += group_size) {
        const float* group = w.row(r) + first;
        float largest = 0.0f;
        for (int i = 0; i < group_size; ++i) largest = std::max(largest, std::abs(group[i]));
        const float inverse = 1.0f / (largest + 1e-6f);
        for (int i = 0; i < group_size; ++i) sum[first + i] += std::abs(group[i]) * inverse;
      }
    }
  }
  std::vector<float> mean(sum.size());
  for (size_t i = 0; i < sum.size(); ++i) mean[i] = static_cast<float>(sum[i] / rows);
  return mean;
}

std::vector<float> ScalesAt(double ratio, const std::vector<float>& x_mean,
                            const std::vector<float>& w_mean) {
  std::vector<float> scales(x_mean.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    const double s = std::pow(x_mean[i], ratio) / (std::pow(w_mean[i], 1.0 - ratio) + 1e-4);
    scales[i] = static_cast<float>(std::max(s, 1e-4));
  }
  const auto [low, high] = std::minmax_element(scales.begin(), scales.end());
  const float norm = std::sqrt(*high * *low);
  for (float& s : scales) {
    s /= norm;
    if (!std::isfinite(s)) s = 1.0f;
  }
  return scales;
}

// to = round(w * scales) / scales: what rounding leaves of w when its inputs are scaled.
void RoundScaled(const Matrix& w, const std::vector<float>& scales,
                 const ScaleSearchOptions& options, Matrix& to) {
  ParallelFor(static_cast<int>(w.rows), options.threads, [&](int r) {
    const float* from = w.row(r);
    float* row = to.row(r);
    for (int64_t c = 0; c < w.cols; ++c) row[c] = from[c] * scales[c];
    RoundToGroups(options.group_size, row, w.cols);
    for (int64_t c = 0; c < w.cols; ++c) row[c] /= scales[c];
  });
}

// Of a row's squared distance, the mean over all rows of it times the row's weight.
double WeightedError(const Matrix& a, const Matrix& b, const std::vector<float>& weights) {
  double sum = 0.0;
  for (int64_t r = 0; r < a.rows; ++r) {
    double squares = 0.0;
    for (int64_t c = 0; c < a.cols; ++c) {
      const double difference = double{a.row(r)[c]} - b.row(r)[c];
      squares += difference * difference;
    }
    sum += weights[r] * squares;
  }
  return sum / static_cast<double>(a.rows);
}

class Search {
 public:
  Search(const ModelConfig& model, const AwqLayer& layer, const AwqInputs& inputs,
         const ScaleSearchOptions& options)
      : model_(model), layer_(layer), inputs_(inputs), options_(options), candidate_(layer) {}

  AwqScales Run(LayerInput input) {
    const std::vector<Linear> linears = LinearsOf(input);
    const PackedRows x(inputs_[input].view());
    const Matrix exact = Output(input, x, layer_);
    const bool attention = input == LayerInput::kAttention || input == LayerInput::kAttentionOutput;
    const std::vector<float>& weights = attention ? inputs_.attention_weights : inputs_.ffn_weights;
    const auto error_of = [&](const std::vector<float>& scales) {
      for (const Linear linear : linears) {
        RoundScaled(layer_[linear], scales, options_, candidate_[linear]);
      }
      return WeightedError(Output(input, x, candidate_), exact, weights);
    };
    AwqScales best{.input = input, .scales = std::vector<float>(x.cols(), 1.0f)};
    best.rounding_error = error_of(best.scales);
    best.error = best.rounding_error;
    const std::vector<float>& x_mean = inputs_.mean_magnitude[static_cast<size_t>(input)];
    const std::vector<float> w_mean = MeanRelativeWeight(layer_, linears, options_.group_size);
    for (int i = 0; i < options_.grid; ++i) {
      const double ratio = static_cast<double>(i) / options_.grid;
      std::vector<float> scales = ScalesAt(ratio, x_mean, w_mean);
      const double error = error_of(scales);
      if (!(error < best.error)) continue;
      best.error = error;
      best.ratio = ratio;
      best.scales = std::move(scales);
    }
    for (const Linear linear : linears) candidate_[linear] = layer_[linear];
    return best;
  }

 private:
  Matrix Output(LayerInput input, const PackedRows& x, const AwqLayer& layer) const {
    switch (input) {
      case LayerInput::kAttention:
        return AttentionModule{&model_, inputs_.sample_rows, options_.threads}.Output(x, layer);
      case LayerInput::kAttentionOutput:
        return LinearOutput(x, layer[Linear::kOutput], options_.threads);
      case LayerInput::kFfn:
        return FfnOutput(x, layer, options_.threads);
      case LayerInput::kFfnDown:
        break;
    }
    return LinearOutput(x, layer[Linear::kDown], options_.threads);
  }

  const ModelConfig& model_;
  const AwqLayer& layer_;
  const AwqInputs& inputs_;
  const ScaleSearchOptions& options_;
  AwqLayer candidate_;
};

void MultiplyColumns(const std::vector<float>& scales, Matrix& w) {
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t c = 0; c < w.cols; ++c) w.row(r)[c] *= scales[c];
  }
}

void DivideRows(const std::vector<float>& scales, Matrix& w) {
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t c = 0; c < w.cols; ++c) w.row(r)[c] /= scales[r];
  }
}

void Divide(const std::vector<float>& scales, std::vector<float>& x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] /= scales[i % scales.size()];
}

}  // namespace

std::vector<AwqScales> SearchScales(const ModelConfig& model, const AwqLayer& layer,
                                    const AwqInputs& inputs, const ScaleSearchOptions& options) {
  Search search(model, layer, inputs, options);
  std::vector<AwqScales> found;
  for (int i = 0; i < kLayerInputs; ++i) {
    const LayerInput input = static_cast<LayerInput>(i);
    const Matrix &value = layer[Linear::kValue], &output = layer[Linear::kOutput];
    const bool shared = value.rows != output.rows || value.cols != output.cols;
    if (input == LayerInput::kAttentionOutput && shared) continue;
    found.push_back(search.Run(input));
  }
  return found;
}

void ApplyScales(const AwqScales& scales, AwqLayer& layer, AwqInputs& inputs) {
  const std::vector<float>& s = scales.scales;
  for (const Linear linear : LinearsOf(scales.input)) MultiplyColumns(s, layer[linear]);
  Divide(s, inputs[scales.input].values);
  inputs.hessians[static_cast<size_t>(scales.input)].DivideInputs(s);
  if (scales.input == LayerInput::kAttention) inputs.value_hessian.DivideInputs(s);
  switch (scales.input) {
    case LayerInput::kAttention:
      return Divide(s, layer.attention_norm);
    case LayerInput::kAttentionOutput:
      DivideRows(s, layer[Linear::kValue]);
      return Divide(s, layer.value_bias);
    case LayerInput::kFfn:
      return Divide(s, layer.ffn_norm);
    case LayerInput::kFfnDown:
      return DivideRows(s, layer[Linear::kUp]);
  }
}

}  // namespace kvpareto::tune
