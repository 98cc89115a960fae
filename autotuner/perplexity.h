// How well a model predicts a text.
#pragma once

#include <cstdint>
#include <vector>

#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct Perplexity {
  double mean_nll = 0.0;        // negative log likelihood of a token, in nats
  double standard_error = 0.0;  // of mean_nll, from the spread between windows; 0 with one window
  int64_t tokens = 0;           // predicted
  std::vector<double> windows;  // mean nll of each
  double value() const;         // exp(mean_nll)
};

// Every window runs from position 0 through a bf16 cache; each of its tokens but the first is
// predicted from those before it. Windows have at least two tokens and at most the context.
// Progress counts tokens. Errors: of Engine::Score.
absl::StatusOr<Perplexity> MeasurePerplexity(Engine& engine,
                                             const std::vector<std::vector<int32_t>>& windows,
                                             Progress& progress);

}  // namespace kvpareto::tune
