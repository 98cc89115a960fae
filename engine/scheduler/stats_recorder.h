// Keeps EngineStats up to date on the engine thread and publishes copies of it to any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/admission.h"
#include "engine/scheduler/prefix_sharing.h"
#include "engine/scheduler/step_planner.h"
#include "engine/stats.h"

namespace kvpareto {

class StatsRecorder {
 public:
  StatsRecorder(uint64_t weights_bytes, uint64_t workspace_bytes);

  // Engine thread only.
  void OnAdmitted(const ActiveRequest& request);
  void OnFirstToken(const ActiveRequest& request);
  void OnNextToken(const ActiveRequest& request, double gap_seconds);
  void OnFinished(const ActiveRequest& request, const Usage& usage);
  void OnPredictionError(double ratio);
  void OnStep(int decode_rows, std::span<const int> chunk_tokens, double seconds);

  using RequantizedBytes = std::map<std::pair<std::string, std::string>, uint64_t>;
  void SetRequantized(const RequantizedBytes& bytes);

  // Engine thread: takes the state of arena and requests and publishes it, all of one instant.
  using Requests = std::vector<std::unique_ptr<ActiveRequest>>;
  struct State {
    const Requests& running;
    const Requests& waiting;
    const Admission& admission;
    const PrefixSharing& sharing;
  };
  void Publish(const kv::ArenaStats& arena, uint64_t transform_bytes, const State& state);

  // Any thread.
  EngineStats Snapshot() const;
  void SetDraining();
  void SetStepStart(Clock::time_point start);  // of the step in progress
  void ClearStepStart();

 private:
  void SetLimits(const Admission& admission);
  void AddPrefixes(const PrefixSharing& sharing);

  EngineStats current_;  // engine thread only

  mutable std::mutex mutex_;  // guards what follows
  EngineStats published_;
  bool draining_ = false;
  std::optional<Clock::time_point> step_start_;
};

}  // namespace kvpareto
