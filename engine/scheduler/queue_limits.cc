#include "engine/scheduler/queue_limits.h"

#include "absl/strings/str_cat.h"
#include "engine/scheduler/retry.h"

namespace kvpareto {

QueueCounts CountByClass(const std::vector<std::unique_ptr<ActiveRequest>>& waiting) {
  QueueCounts counts;
  for (const auto& request : waiting) ++counts[request->service_class()];
  return counts;
}

absl::Status CheckQueue(const QueueCounts& queued, const ModelSlo& slo,
                        const std::string& service_class, int max_queued,
                        const std::function<std::chrono::milliseconds()>& retry_after) {
  size_t all = 0, of_class = 0;
  for (const auto& [label, count] : queued) {
    all += count;
    if (label == service_class) of_class = count;
  }
  const auto most = slo.ClassFor(service_class).max_queued;
  if (all < static_cast<size_t>(max_queued) && (!most || of_class < static_cast<size_t>(*most))) {
    return absl::OkStatus();
  }
  return TryAgain(
      "QUEUE_FULL",
      absl::StrCat("the queue holds ", all, " requests already, ", of_class, " of the same class"),
      retry_after(), {{"queued", absl::StrCat(all)}});
}

}  // namespace kvpareto
