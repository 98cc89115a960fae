// What an SLO allows, without running anything: how many requests of what length fit.
#pragma once

#include <functional>
#include <string>

#include "engine/policy/slo.h"

namespace kvpareto::sim {

// For each class: the smallest and the best config that requests of several lengths may get, and
// how many of them the class holds for certain and at most. Error: of CheckSlo.
absl::StatusOr<std::string> DescribeSlo(const ModelSlo& slo, const ParetoTable& table,
                                        const ModelConfig& model, uint64_t capacity_bytes,
                                        const WorkspaceFn& workspace);

}  // namespace kvpareto::sim
