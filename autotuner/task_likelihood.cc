#include "autotuner/task_likelihood.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "autotuner/fidelity.h"

namespace kvpareto::tune {
namespace {

// Calls fn(position, logits) for the positions from `first` on, which are computed as generated
// tokens are: each reads what the cache holds.
template <typename Fn>
absl::Status ForPositions(Engine& engine, std::span<const int32_t> tokens, const KvConfig& config,
                          int64_t first, Fn&& fn) {
  const auto vocab = static_cast<size_t>(engine.model().config.vocab);
  return engine.Score(tokens, config,
                      {.decode_from = first, .logits_from = first, .prefill_arithmetic = true},
                      [&](int64_t position, std::span<const float> logits) {
                        for (size_t r = 0; r * vocab < logits.size(); ++r) {
                          fn(position + static_cast<int64_t>(r), logits.subspan(r * vocab, vocab));
                        }
                      });
}

std::vector<float> LogProbabilities(std::span<const float> logits) {
  std::vector<float> row(logits.begin(), logits.end());
  LogSoftmax(row);
  return row;
}

}  // namespace

absl::StatusOr<double> LikelihoodScorer::LogLikelihood(const Tokens& prompt, const Tokens& option,
                                                       const KvConfig& config) {
  Tokens tokens = prompt;
  tokens.insert(tokens.end(), option.begin(), option.end() - 1);
  const int64_t first = std::ssize(prompt) - 1;
  double sum = 0.0;
  KVP_RETURN_IF_ERROR(ForPositions(engine_, tokens, config, first,
                                   [&](int64_t position, std::span<const float> logits) {
                                     sum += LogProbabilities(logits)[option[position - first]];
                                   }));
  return sum;
}

absl::StatusOr<double> LikelihoodScorer::Score(const TaskItem& item, const Choice& choice,
                                               const KvConfig& config) {
  std::vector<double> likelihoods(choice.options.size());
  const bool single_tokens = std::all_of(choice.options.begin(), choice.options.end(),
                                         [](const Tokens& option) { return option.size() == 1; });
  if (single_tokens) {  // one pass over the prompt tells all of them
    KVP_RETURN_IF_ERROR(ForPositions(engine_, item.prompt, config, std::ssize(item.prompt) - 1,
                                     [&](int64_t, std::span<const float> logits) {
                                       for (size_t i = 0; i < likelihoods.size(); ++i) {
                                         likelihoods[i] = logits[choice.options[i][0]];
                                       }
                                     }));
  } else {
    for (size_t i = 0; i < likelihoods.size(); ++i) {
      KVP_ASSIGN_OR_RETURN(likelihoods[i], LogLikelihood(item.prompt, choice.options[i], config));
    }
  }
  const auto best = std::max_element(likelihoods.begin(), likelihoods.end());
  return best - likelihoods.begin() == choice.right ? 1.0 : 0.0;
}

absl::StatusOr<double> LikelihoodScorer::Score(const TaskItem& item, const Likelihood& likelihood,
                                               const KvConfig& config) {
  double sum = 0.0;
  int64_t counted = 0;
  KVP_RETURN_IF_ERROR(ForPositions(engine_, item.prompt, config, likelihood.first_counted,
                                   [&](int64_t position, std::span<const float> logits) {
                                     if (position + 1 == std::ssize(item.prompt)) return;
                                     sum += LogProbabilities(logits)[item.prompt[position + 1]];
                                     ++counted;
                                   }));
  return counted == 0 ? 0.0 : std::exp(sum / static_cast<double>(counted));
}

absl::StatusOr<LikelihoodScorer::Tokens> LikelihoodScorer::LikeliestTokens(const TaskItem& item,
                                                                           int64_t first_counted,
                                                                           const KvConfig& config) {
  Tokens likeliest;
  KVP_RETURN_IF_ERROR(ForPositions(
      engine_, item.prompt, config, first_counted, [&](int64_t, std::span<const float> logits) {
        const auto best = std::max_element(logits.begin(), logits.end());
        likeliest.push_back(static_cast<int32_t>(best - logits.begin()));
      }));
  return likeliest;
}

absl::StatusOr<double> LikelihoodScorer::Score(const TaskItem& item, const Agreement& agreement,
                                               const KvConfig& config) {
  if (config.is_bf16()) return 1.0;
  const int chunk = config.prefill_chunk_tokens;
  Tokens& expected = bf16_tokens_[{item.digest, chunk}];
  if (expected.empty()) {
    KVP_ASSIGN_OR_RETURN(expected,
                         LikeliestTokens(item, agreement.first_counted, KvConfig::Bf16(chunk)));
  }
  KVP_ASSIGN_OR_RETURN(const Tokens found, LikeliestTokens(item, agreement.first_counted, config));
  int64_t same = 0;
  for (size_t i = 0; i < found.size(); ++i) same += found[i] == expected[i] ? 1 : 0;
  return static_cast<double>(same) / static_cast<double>(found.size());
}

}  // namespace kvpareto::tune
