// Several replicas behind a balancer that sends each request to the one with the least bytes
// promised and waited for.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autotuner/simulator/outcome.h"
#include "autotuner/simulator/replica.h"

namespace kvpareto::sim {

struct FleetResult {
  std::map<std::string, ClassOutcome> classes;
  size_t most_held = 0;     // requests that own memory, in all replicas at once
  double mean_held = 0.0;   // over the time that requests arrive
  uint64_t most_bytes = 0;  // promised, in all replicas at once
  double seconds = 0.0;     // until the last request ended
  uint64_t steps = 0;
};

class Fleet {
 public:
  // As Replica; `replicas` of them.
  Fleet(int replicas, const ReplicaOptions& options, const ModelConfig* model,
        const ParetoTable* table);

  void SetSlo(const ModelSlo& slo);
  // Runs the whole trace (sorted by arrival) and lets it end. Once.
  FleetResult Run(const std::vector<TraceRequest>& trace);

 private:
  Replica& LeastLoaded();
  void Sample(double seconds_since_last);

  std::vector<std::unique_ptr<Replica>> replicas_;
  FleetResult result_;
};

}  // namespace kvpareto::sim
