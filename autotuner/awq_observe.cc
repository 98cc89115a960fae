#include "autotuner/awq_observe.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "autotuner/awq_activations.h"
#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

// The first `count` of [0, size) in an order drawn by `seed`, the same on every machine.
std::vector<size_t> Draw(size_t size, size_t count, uint64_t seed) {
  std::vector<size_t> order(size);
  for (size_t i = 0; i < size; ++i) order[i] = i;
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < std::min(size, count); ++i) {
    std::swap(order[i], order[i + random() % (size - i)]);
  }
  order.resize(std::min(size, count));
  return order;
}

void Append(const std::vector<float>& from, std::vector<float>& to) {
  to.insert(to.end(), from.begin(), from.end());
}

class Observer {
 public:
  Observer(const AwqLayer& layer, const ObserveOptions& options)
      : layer_(layer), options_(options) {
    for (const Linear linear : {Linear::kQuery, Linear::kOutput, Linear::kGate, Linear::kDown}) {
      const size_t i = static_cast<size_t>(InputOf(linear));
      sums_[i].resize(layer[linear].cols);
      inputs_.rows[i].cols = layer[linear].cols;
      if (options.hessians) inputs_.hessians[i] = Hessian(layer[linear].cols);
    }
    if (options.hessians) inputs_.value_hessian = Hessian(layer[Linear::kValue].cols);
  }

  void Add(const LayerActivations& seen) {
    if (options_.hessians) AddMoments(seen);
    if (samples_ < options_.search_samples) Keep(seen);
    for (int i = 0; i < kLayerInputs; ++i) {
      const Matrix& x = seen.inputs[i];
      for (int64_t t = 0; t < x.rows; ++t) {
        for (int64_t c = 0; c < x.cols; ++c) sums_[i][c] += std::abs(x.row(t)[c]);
      }
    }
    tokens_ += seen.inputs[0].rows;
    ++samples_;
  }

  absl::StatusOr<AwqInputs> Finish() {
    for (int i = 0; i < kLayerInputs; ++i) {
      for (const double sum : sums_[i]) {
        const double mean = sum / static_cast<double>(tokens_);
        if (!(mean < kLargest)) return NotFinite(static_cast<LayerInput>(i));
        inputs_.mean_magnitude[i].push_back(static_cast<float>(mean));
      }
    }
    return std::move(inputs_);
  }

 private:
  static constexpr double kLargest = 1e15;  // its square and sums of it are floats

  void AddMoments(const LayerActivations& seen) {
    const std::vector<float> kAlike;
    const auto add = [&](LayerInput input, const std::vector<float>& weights, Hessian& to) {
      to.Add(seen.inputs[static_cast<size_t>(input)].view(), weights, options_.threads);
    };
    auto& hessians = inputs_.hessians;
    add(LayerInput::kAttention, kAlike, hessians[0]);
    add(LayerInput::kAttentionOutput, seen.attention_weights, hessians[1]);
    add(LayerInput::kFfn, kAlike, hessians[2]);
    add(LayerInput::kFfnDown, seen.ffn_weights, hessians[3]);
    add(LayerInput::kAttention, seen.value_weights, inputs_.value_hessian);
  }

  void Keep(const LayerActivations& seen) {
    for (int i = 0; i < kLayerInputs; ++i) {
      inputs_.rows[i].rows += seen.inputs[i].rows;
      Append(seen.inputs[i].values, inputs_.rows[i].values);
    }
    inputs_.sample_rows = static_cast<int>(seen.inputs[0].rows);
    Append(seen.value_weights, inputs_.value_weights);
    Append(seen.attention_weights, inputs_.attention_weights);
    Append(seen.ffn_weights, inputs_.ffn_weights);
  }

  absl::Status NotFinite(LayerInput input) const {
    return MakeError(absl::StatusCode::kOutOfRange, "ACTIVATION_NOT_FINITE",
                     absl::StrCat("layer ", layer_.index, ": what is put into ",
                                  std::string(LayerInputName(input)), " overflows"),
                     {{"layer", absl::StrCat(layer_.index)}});
  }

  const AwqLayer& layer_;
  const ObserveOptions& options_;
  AwqInputs inputs_;
  std::array<std::vector<double>, kLayerInputs> sums_;  // of magnitudes
  int samples_ = 0;
  int64_t tokens_ = 0;
};

}  // namespace

absl::StatusOr<TextPieces> DrawSamples(const Engine& engine, const std::vector<NamedText>& texts,
                                       int samples, int sample_tokens, uint64_t seed) {
  const int32_t bos = engine.model().config.bos_token;
  std::vector<int32_t> start;
  std::vector<std::vector<int32_t>> runs, tails;
  TextPieces result;
  for (const NamedText& text : texts) {
    auto tokens = engine.Tokenize(text.text);
    if (!tokens.ok()) return Annotate(tokens.status(), text.name);
    if (bos >= 0 && !tokens->empty() && tokens->front() == bos) {
      start = {bos};
      tokens->erase(tokens->begin());
    }
    const size_t length = sample_tokens - start.size();
    for (size_t from = 0; from < tokens->size(); from += length) {
      const size_t count = std::min(length, tokens->size() - from);
      std::vector<int32_t> run = start;
      run.insert(run.end(), tokens->begin() + from, tokens->begin() + from + count);
      (count == length ? runs : tails).push_back(std::move(run));
    }
    absl::StrAppend(&result.description, result.description.empty() ? "" : "; ", text.name,
                    " (sha256 ", Sha256Hex(text.text), ")");
  }
  if (runs.empty() && !tails.empty()) {
    runs.push_back(*std::max_element(tails.begin(), tails.end(), [](const auto& a, const auto& b) {
      return a.size() < b.size();
    }));
  }
  for (const size_t i : Draw(runs.size(), samples, seed)) {
    result.tokens += runs[i].size();
    result.pieces.push_back(std::move(runs[i]));
  }
  if (result.tokens < kMinCalibrationTokens) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     absl::StrCat("calibration needs at least ", kMinCalibrationTokens,
                                  " tokens, not ", result.tokens),
                     {{"tokens", absl::StrCat(result.tokens)}});
  }
  absl::StrAppend(&result.description, ", ", result.pieces.size(), " samples of ",
                  result.pieces[0].size(), " tokens drawn by seed ", seed);
  return result;
}

const Hessian& AwqInputs::HessianOf(Linear linear) const {
  if (linear == Linear::kValue) return value_hessian;
  return hessians[static_cast<size_t>(InputOf(linear))];
}

absl::StatusOr<AwqInputs> ObserveLayer(const ModelConfig& config, const AwqLayer& layer,
                                       const ObserveOptions& options,
                                       const std::vector<Matrix>& streams) {
  Observer observer(layer, options);
  for (Matrix x : streams) observer.Add(ApplyLayer(config, layer, options.threads, x));
  return observer.Finish();
}

}  // namespace kvpareto::tune
