// A simulation's result for people.
#pragma once

#include <string>

#include "autotuner/simulator/fleet.h"

namespace kvpareto::sim {

// `wall_seconds`: what the simulation itself took.
std::string FormatResult(const FleetResult& result, double wall_seconds);

}  // namespace kvpareto::sim
