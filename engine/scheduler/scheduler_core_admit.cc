// The scheduler's queue: its order, who is admitted from it, and what the others are told.
#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "engine/scheduler/retry.h"
#include "engine/scheduler/scheduler_core.h"

namespace kvpareto {
namespace {

// A request without a deadline stands where one of this patience would, so that a stream of urgent
// ones does not hold it up for ever.
constexpr auto kLongestPatience = std::chrono::minutes(10);

}  // namespace

void SchedulerCore::Enqueue(std::unique_ptr<ActiveRequest> request) {
  if (idle()) stats_.SetProgress();
  const ClassSlo& rules = admission_.RulesOf(*request);
  if (rules.max_wait) request->wait_until = request->submitted + *rules.max_wait;
  const auto rank = [&](const ActiveRequest& r) {
    return std::tuple(-admission_.RulesOf(r).priority,
                      std::min(r.expiry(), r.submitted + kLongestPatience));
  };
  const auto place =
      std::upper_bound(waiting_.begin(), waiting_.end(), request,
                       [&](const auto& a, const auto& b) { return rank(*a) < rank(*b); });
  waiting_.insert(place, std::move(request));
}

// A request that waits is not overtaken by later ones of its class, so that a large one comes to
// its turn; once one waits for memory that all share, the others get only what is guaranteed to
// them.
void SchedulerCore::Admit() {
  if (!failure_.ok()) return FinishAll(failure_);
  admission_.BeginRound(!waiting_.empty());
  std::vector<std::string> held_up;  // classes whose first request waits
  bool guaranteed_only = false;
  std::vector<std::pair<ActiveRequest*, absl::Status>> leaving;
  for (auto& request : waiting_) {
    const std::string& name = request->service_class();
    if (std::find(held_up.begin(), held_up.end(), name) != held_up.end()) continue;
    const AdmissionVerdict verdict = admission_.Try(*request, guaranteed_only);
    if (verdict == AdmissionVerdict::kAdmitted) {
      if (absl::Status status = Start(*request); status.ok()) {
        running_.push_back(std::move(request));
      } else {
        leaving.emplace_back(request.get(), std::move(status));
      }
    } else if (verdict == AdmissionVerdict::kRefused || verdict == AdmissionVerdict::kTooLarge) {
      leaving.emplace_back(request.get(), Refusal(*request, verdict));
    } else {
      held_up.push_back(name);
      guaranteed_only |= verdict == AdmissionVerdict::kWaitsForMemory;
    }
  }
  std::erase(waiting_, nullptr);
  for (auto& [request, status] : leaving) Finish(request, std::move(status));
}

// `request` has its memory. Errors: of CacheFormats::Get; then it has none again.
absl::Status SchedulerCore::Start(ActiveRequest& request) {
  const PreparedRequest& prepared = request.prepared;
  const auto format = formats_.Get(prepared.plan.config);
  if (!format.ok()) {
    sharing_.Unpin(request);
    parts_.arena->Unreserve(std::exchange(request.reserved_bytes, 0));
    return format.status();
  }
  sharing_.Start(request, *format, *parts_.executor);
  request.unfinished = prepared.request.num_sequences;
  request.admitted = parts_.now();
  stats_.OnAdmitted(request);
  stats_.SetProgress();
  request.sink->OnAdmitted(prepared.plan);
  return absl::OkStatus();
}

absl::Status SchedulerCore::Refusal(const ActiveRequest& request, AdmissionVerdict verdict) const {
  const uint64_t needed = request.smallest_kv_bytes();
  if (verdict == AdmissionVerdict::kTooLarge) {
    const uint64_t most = admission_.state().ledger.Most(request.service_class()).bytes;
    return MakeError(
        absl::StatusCode::kOutOfRange, "KV_EXCEEDS_CAPACITY",
        absl::StrCat("the request needs ", needed, " bytes of KV memory; its class ", "may hold ",
                     most, " since the memory SLO has changed"),
        {{"needed_bytes", absl::StrCat(needed)}, {"available_bytes", absl::StrCat(most)}});
  }
  return TryAgain("MEMORY_PRESSURE",
                  absl::StrCat("there is no KV memory left for the ", needed,
                               " bytes that the request needs, and its class does not wait"),
                  RetryAfter(needed), {{"needed_bytes", absl::StrCat(needed)}});
}

std::chrono::milliseconds SchedulerCore::RetryAfter(uint64_t bytes) const {
  for (const auto& request : waiting_) bytes += request ? request->smallest_kv_bytes() : 0;
  return drain_rate_.TimeFor(bytes, parts_.now());
}

}  // namespace kvpareto
