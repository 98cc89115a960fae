#include "autotuner/perplexity.h"

#include <cmath>

#include "autotuner/vector_exp.h"

namespace kvpareto::tune {
namespace {

constexpr int kChunkTokens = 512;

// -log softmax(logits)[token].
double NegativeLogLikelihood(std::span<const float> logits, int32_t token) {
  float largest = logits[0];
  for (const float logit : logits) largest = logit > largest ? logit : largest;
  double sum = 0.0;
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    const Floats e = Exp(LoadFloats(&logits[i]) - Broadcast(largest));
    sum += double{e[0]} + e[1] + e[2] + e[3];
  }
  for (; i < logits.size(); ++i) sum += std::exp(double{logits[i]} - largest);
  return std::log(sum) + largest - logits[token];
}

}  // namespace

double Perplexity::value() const { return std::exp(mean_nll); }

absl::StatusOr<Perplexity> MeasurePerplexity(Engine& engine,
                                             const std::vector<std::vector<int32_t>>& windows,
                                             Progress& progress) {
  const size_t vocab = engine.model().config.vocab;
  Perplexity result;
  double total = 0.0;
  for (const auto& window : windows) {
    double sum = 0.0;
    KVP_RETURN_IF_ERROR(engine.Score(window, KvConfig::Bf16(kChunkTokens), {},
                                     [&](int64_t first, std::span<const float> logits) {
                                       for (size_t row = 0; row * vocab < logits.size(); ++row) {
                                         const size_t next = first + row + 1;
                                         if (next >= window.size()) break;
                                         sum += NegativeLogLikelihood(
                                             logits.subspan(row * vocab, vocab), window[next]);
                                       }
                                     }));
    total += sum;
    result.windows.push_back(sum / (window.size() - 1));
    result.tokens += window.size() - 1;
    progress.Advance(window.size(), "perplexity");
  }
  result.mean_nll = total / result.tokens;
  // Of a ratio of sums: windows are drawn, their tokens are not independent.
  double squares = 0.0;
  for (size_t i = 0; i < windows.size(); ++i) {
    const double deviation = (result.windows[i] - result.mean_nll) * (windows[i].size() - 1);
    squares += deviation * deviation;
  }
  const double n = static_cast<double>(windows.size());
  if (n > 1) result.standard_error = std::sqrt(squares * n / (n - 1)) / result.tokens;
  return result;
}

}  // namespace kvpareto::tune
