// A plan, and what became of it, in lines for people.
#pragma once

#include <string>

#include "kvpareto/v1/inference.pb.h"

namespace kvpareto::cli {

// "budget".
std::string ReasonName(v1::PlanReason reason);

// The chosen config, predicted bytes next to those of bf16, accuracy, and why.
std::string DescribePlan(const v1::KvPlan& plan, int64_t prompt_tokens, int32_t max_tokens);

// Measured bytes next to the predicted ones, tokens and timings.
std::string DescribeUsage(const v1::Usage& usage);

}  // namespace kvpareto::cli
