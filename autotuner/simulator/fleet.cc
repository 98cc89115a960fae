#include "autotuner/simulator/fleet.h"

#include <algorithm>

namespace kvpareto::sim {

Fleet::Fleet(int replicas, const ReplicaOptions& options, const ModelConfig* model,
             const ParetoTable* table) {
  for (int i = 0; i < replicas; ++i) {
    replicas_.push_back(std::make_unique<Replica>(options, model, table));
  }
}

void Fleet::SetSlo(const ModelSlo& slo) {
  for (auto& replica : replicas_) replica->SetSlo(std::make_shared<const ModelSlo>(slo));
}

Replica& Fleet::LeastLoaded() {
  return **std::min_element(replicas_.begin(), replicas_.end(),
                            [](const auto& a, const auto& b) { return a->Load() < b->Load(); });
}

void Fleet::Sample(double seconds_since_last) {
  size_t held = 0;
  uint64_t bytes = 0;
  for (const auto& replica : replicas_) {
    held += replica->core().running().size();
    bytes += replica->arena().stats().reserved_bytes;
  }
  result_.most_held = std::max(result_.most_held, held);
  result_.most_bytes = std::max(result_.most_bytes, bytes);
  result_.mean_held += static_cast<double>(held) * seconds_since_last;
}

FleetResult Fleet::Run(const std::vector<TraceRequest>& trace) {
  double last = 0.0;
  for (size_t i = 0; i < trace.size(); ++i) {
    const TraceRequest& request = trace[i];
    const Clock::time_point at{std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(request.arrival_seconds))};
    for (auto& replica : replicas_) replica->AdvanceTo(at);
    Sample(request.arrival_seconds - last);
    last = request.arrival_seconds;
    ClassOutcome& outcome = result_.classes[request.service_class];
    ++outcome.submitted;
    Replica& replica = LeastLoaded();
    const absl::Status status =
        replica.Submit(request, std::to_string(i), MakeSink(&replica, request, &outcome));
    if (!status.ok()) CountRefusal(status, outcome);
  }
  if (last > 0.0) result_.mean_held /= last;
  for (auto& replica : replicas_) {
    replica->Finish();
    replica->core().Publish();
    result_.steps += replica->core().stats().Snapshot().steps_total;
    result_.seconds = std::max(result_.seconds, Seconds(replica->now().time_since_epoch()));
  }
  return std::move(result_);
}

}  // namespace kvpareto::sim
