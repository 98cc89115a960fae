// Keeps EngineStats up to date on the engine thread and publishes copies of it to any thread.
#pragma once

#include <functional>
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
  // `now` is called by any thread and outlives the recorder.
  StatsRecorder(uint64_t weights_bytes, uint64_t workspace_bytes,
                std::function<Clock::time_point()> now);

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
  // Something has happened that brings work to its end, or new work where there was none.
  void SetProgress();
  void SetIdle();  // nothing can be late now
  void SetFailed(const absl::Status& failure);

 private:
  void SetLimits(const Admission& admission);
  void AddPrefixes(const PrefixSharing& sharing);

  const std::function<Clock::time_point()> now_;
  EngineStats current_;  // engine thread only

  mutable std::mutex mutex_;  // guards what follows
  EngineStats published_;
  bool draining_ = false;
  std::optional<Clock::time_point> progress_;  // the last one; none: idle
  std::string failure_;
};

}  // namespace kvpareto
