// How many requests may wait.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/policy/slo.h"
#include "engine/scheduler/active_request.h"

namespace kvpareto {

using QueueCounts = std::map<std::string, size_t>;  // requests that wait, by class

QueueCounts CountByClass(const std::vector<std::unique_ptr<ActiveRequest>>& waiting);

// Whether one more of the class may wait: there are at most `max_queued` in all, and of the class
// what its SLO allows. Error: RESOURCE_EXHAUSTED (QUEUE_FULL).
absl::Status CheckQueue(const QueueCounts& queued, const ModelSlo& slo,
                        const std::string& service_class, int max_queued,
                        const std::function<std::chrono::milliseconds()>& retry_after);

}  // namespace kvpareto
