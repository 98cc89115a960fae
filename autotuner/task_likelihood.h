// Scores that come from the model's probabilities: nothing is generated.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "autotuner/task.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// Keeps what configs share. The engine outlives it.
class LikelihoodScorer {
 public:
  explicit LikelihoodScorer(Engine& engine) : engine_(engine) {}

  // Errors: of Engine::Score.
  absl::StatusOr<double> Score(const TaskItem& item, const Choice& choice, const KvConfig& config);
  absl::StatusOr<double> Score(const TaskItem& item, const Likelihood& likelihood,
                               const KvConfig& config);
  absl::StatusOr<double> Score(const TaskItem& item, const Agreement& agreement,
                               const KvConfig& config);

 private:
  using Tokens = std::vector<int32_t>;

  absl::StatusOr<Tokens> LikeliestTokens(const TaskItem& item, int64_t first_counted,
                                         const KvConfig& config);
  // Of one option, in nats.
  absl::StatusOr<double> LogLikelihood(const Tokens& prompt, const Tokens& option,
                                       const KvConfig& config);

  Engine& engine_;
  std::map<std::pair<std::string, int>, Tokens> bf16_tokens_;  // by item digest and chunk
};

}  // namespace kvpareto::tune
