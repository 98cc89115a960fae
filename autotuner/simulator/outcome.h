// What became of the simulated requests of one class.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "autotuner/simulator/quantiles.h"
#include "autotuner/simulator/replica.h"
#include "engine/request.h"

namespace kvpareto::sim {

struct ClassOutcome {
  uint64_t submitted = 0;
  uint64_t finished = 0;                      // to their end
  std::map<std::string, uint64_t> refused;    // by reason: never admitted
  std::map<std::string, uint64_t> failed;     // by reason: admitted, and ended before their end
  std::map<std::string, uint64_t> by_config;  // admitted
  uint64_t below_target = 0;                  // admitted with less accuracy than they asked for
  Quantiles queue_seconds, first_token_seconds, gap_seconds;
  int64_t generated_tokens = 0;
};

// Notes what happens to one request. `replica` and `outcome` outlive it.
std::shared_ptr<ResponseSink> MakeSink(const Replica* replica, const TraceRequest& request,
                                       ClassOutcome* outcome);
// A request that Submit refused.
void CountRefusal(const absl::Status& status, ClassOutcome& outcome);

}  // namespace kvpareto::sim
