#include "autotuner/awq_observe.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

std::array<std::span<const float>, kLayerInputs> InputsOf(const LayerObservation& seen) {
  return {seen.attention_input, seen.attention_output, seen.ffn_input, seen.ffn_product};
}

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

absl::StatusOr<std::vector<MeanMagnitudes>> ObserveMeans(
    Engine& engine, const std::vector<std::vector<int32_t>>& samples, Progress& progress) {
  const int layers = engine.model().config.layers;
  std::vector<std::array<std::vector<double>, kLayerInputs>> sums(layers);
  int64_t rows = 0;
  for (const auto& sample : samples) {
    KVP_RETURN_IF_ERROR(engine.Observe(sample, [&](const LayerObservation& seen) {
      const auto inputs = InputsOf(seen);
      for (int i = 0; i < kLayerInputs; ++i) {
        std::vector<double>& sum = sums[seen.layer][i];
        const size_t cols = inputs[i].size() / seen.rows;
        sum.resize(cols);
        for (size_t at = 0; at < inputs[i].size(); at += cols) {
          for (size_t c = 0; c < cols; ++c) sum[c] += std::abs(inputs[i][at + c]);
        }
      }
      if (seen.layer == layers - 1) progress.Advance(seen.rows, "activations");
    }));
    rows += sample.size();
  }
  std::vector<MeanMagnitudes> means(layers);
  for (int layer = 0; layer < layers; ++layer) {
    for (int i = 0; i < kLayerInputs; ++i) {
      for (const double sum : sums[layer][i]) {
        means[layer][i].push_back(static_cast<float>(sum / rows));
      }
    }
  }
  return means;
}

absl::StatusOr<std::vector<AwqInputs>> ObserveRows(Engine& engine,
                                                   const std::vector<std::vector<int32_t>>& samples,
                                                   int first, int last) {
  std::vector<AwqInputs> layers(last - first);
  for (AwqInputs& layer : layers) layer.sample_rows = static_cast<int>(samples[0].size());
  for (const auto& sample : samples) {
    KVP_RETURN_IF_ERROR(engine.Observe(sample, [&](const LayerObservation& seen) {
      if (seen.layer < first || seen.layer >= last) return;
      const auto inputs = InputsOf(seen);
      for (int i = 0; i < kLayerInputs; ++i) {
        Matrix& rows = layers[seen.layer - first].rows[i];
        rows.cols = inputs[i].size() / seen.rows;
        rows.rows += seen.rows;
        rows.values.insert(rows.values.end(), inputs[i].begin(), inputs[i].end());
      }
    }));
  }
  return layers;
}

}  // namespace kvpareto::tune
