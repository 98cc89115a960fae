// Compares what the configs of a table compute on this machine with the bf16 cache: a kernel that
// is wrong here (a compiler, a processor, a device that is not as it should be) shows before it
// answers anybody.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace kvpareto {

// As Engine::Score.
using ScoreFn =
    std::function<absl::Status(std::span<const int32_t> tokens, const KvConfig& config,
                               const ScoreOptions& options, const ScoreLogitsFn& on_logits)>;

// Runs a short text whose last tokens read a sealed block, some as a prefill chunk and some
// decoded, under each row's codecs, transforms and sink. A row is refused when its logits are
// further from those of the bf16 cache than kMaxSelfTestDistance (codecs of fewer than four bits
// may be: they lose as much when nothing is broken), or no numbers, or when the run fails. What a
// config costs in accuracy is for the table to say.
std::vector<RefusedRow> SelfTest(const ParetoTable& table, const ModelConfig& model,
                                 const ScoreFn& score);

// Root of the summed squared differences of logits over that of bf16's own logits around their
// mean: the square root of two for logits that have nothing to do with each other.
inline constexpr double kMaxSelfTestDistance = 1.0;

}  // namespace kvpareto
