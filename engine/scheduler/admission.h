// Admission under an SLO: which plan a waiting request gets, and what is done to make room for it
// (docs/slo.md, "Under pressure").
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/policy/slo.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/class_ledger.h"
#include "engine/scheduler/prefix_sharing.h"
#include "engine/scheduler/requantizer.h"

namespace kvpareto {

// The rules in force and who holds what under them. A value that may be copied to other threads.
struct AdmissionState {
  std::shared_ptr<const ModelSlo> slo;
  ClassLedger ledger;

  // What requests of a class may plan with.
  MemoryState MemoryFor(const std::string& service_class) const;
};

struct AdmissionParts {
  kv::Arena* arena = nullptr;
  PrefixSharing* sharing = nullptr;
  Requantizer* requantizer = nullptr;
  const std::vector<std::unique_ptr<ActiveRequest>>* running = nullptr;
  int max_running_sequences = 0;
};

enum class AdmissionVerdict : uint8_t {
  kAdmitted,        // its plan's bytes are reserved
  kWaitsForMemory,  // others must give something back first
  kWaitsForClass,   // its own class holds all that it may
  kRefused,         // its class does not wait
  kTooLarge,        // the SLO has changed: it can never fit
};

// Owned by the engine thread. All pointers outlive it.
class Admission {
 public:
  explicit Admission(const AdmissionParts& parts);

  void SetSlo(std::shared_ptr<const ModelSlo> slo);
  const ClassSlo& RulesOf(const ActiveRequest& request) const {
    return state_.slo->ClassFor(request.service_class());
  }
  const AdmissionState& state() const { return state_; }

  // Once a round, before Try: counts anew what is held, and gives back what is above the limit or
  // the watermarks: first what is only cached. `waiting`: some request waits.
  void BeginRound(bool waiting);
  // Takes memory for the request by the steps that its class allows, and sets its plan. A prefix
  // that it goes on from is pinned for it, and not promised twice.
  // `guaranteed_only`: of the guaranteed share, because somebody before it waits for memory.
  AdmissionVerdict Try(ActiveRequest& request, bool guaranteed_only);

  // Pressure actions that had an effect, by class: (class, action) -> count.
  using ActionCounts = std::map<std::pair<std::string, PressureAction>, uint64_t>;
  const ActionCounts& actions() const { return actions_; }
  void Count(const ActiveRequest& request, PressureAction action) {
    ++actions_[{request.service_class(), action}];
  }

 private:
  // What a request may do to find room.
  struct Terms {
    bool lower = false;  // take a smaller plan than its first one
    bool shed = false;   // have cached blocks dropped
    bool guaranteed_only = false;
  };

  // Counts a request's own bytes and, for its class, those that somebody of it runs on together.
  void CountHeld();
  uint64_t Limit() const { return state_.ledger.limit_bytes(); }
  uint64_t Watermark(double share) const;
  uint64_t SoftLimit() const;
  const Plan& LeastPlan(const ActiveRequest& request) const;
  // What the plan adds to what is promised: its peak, less what of its prefix is promised already.
  uint64_t Growth(const ActiveRequest& request, const Plan& plan) const;
  bool Fits(const ActiveRequest& request, const Plan& plan, const Terms& terms) const;
  const Plan* Choose(const ActiveRequest& request, const Terms& terms) const;
  bool Take(ActiveRequest& request, const Terms& terms);
  bool Reserve(ActiveRequest& request, const Plan& plan);
  AdmissionVerdict Waits(const ActiveRequest& request) const;
  bool Requantize(const ActiveRequest& request, uint64_t bytes);
  void TrimCache();
  uint64_t Shrink(uint64_t bytes, const std::string* for_class);

  const AdmissionParts parts_;
  const uint64_t capacity_bytes_;
  AdmissionState state_;
  bool pressed_ = false;  // the high watermark was passed, and the low one not yet reached
  ActionCounts actions_;
};

}  // namespace kvpareto
