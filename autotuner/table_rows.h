// From measured rows to those of a Pareto table.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// A row without its measurements: bytes are arithmetic.
ParetoRow RowOf(const Engine& engine, const std::string& name, const KvConfig& config);

// To as many digits as the measurements are worth; accuracy_low stays a bound.
void RoundNumbers(ParetoRow& row);

// The rows that nothing dominates at some length; the fastest bf16 row if none of them is bf16.
std::vector<ParetoRow> Frontier(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                                std::span<const int64_t> contexts);

}  // namespace kvpareto::tune
