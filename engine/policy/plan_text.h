// Words for plans.
#pragma once

#include <string>

#include "engine/policy/choose_config.h"

namespace kvpareto {

// The shortest text that reads back as the same number.
std::string ExactNumber(double value);

// One sentence for people: what was chosen, why, and what it takes. `plan` is complete but for it.
std::string ExplainPlan(const Plan& plan, const KvDemand& demand);

}  // namespace kvpareto
