#include "autotuner/simulator/replica.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/scheduler/queue_limits.h"

namespace kvpareto::sim {
namespace {

// When nothing runs although requests wait (they can only expire), time goes on by itself.
constexpr auto kIdleRound = std::chrono::milliseconds(10);

constexpr int32_t kSharedToken = 0;  // a request's own tokens are its handle

Clock::duration Duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

Replica::Replica(const ReplicaOptions& options, const ModelConfig* model, const ParetoTable* table)
    : options_(options),
      model_(model),
      arena_(nullptr, options.capacity_bytes / kv::kRegionAlignment * kv::kRegionAlignment,
             [](std::byte*, const std::byte*, size_t) {}),
      executor_(options.cost, &now_),
      planner_{.table = table, .model = model, .workspace = options.workspace},
      core_(options.scheduling,
            {.model = model, .executor = &executor_, .arena = &arena_, .now = [this] {
               return now_;
             }}) {}

void Replica::Round() {
  core_.DropCancelledAndExpired({});
  core_.Admit();
  if (!core_.RunStep()) now_ += kIdleRound;
  for (const FinishedRequest& finished : core_.TakeFinished()) {
    finished.request->sink->OnFinish(finished.status, finished.usage);
  }
  if (observe_) observe_();
}

void Replica::AdvanceTo(Clock::time_point until) {
  while (now_ < until && !core_.idle()) Round();
  now_ = std::max(now_, until);
}

void Replica::Finish() {
  while (!core_.idle()) Round();
}

absl::StatusOr<PreparedRequest> Replica::Prepare(const TraceRequest& request,
                                                 const std::string& id) const {
  PreparedRequest prepared;
  prepared.request.request_id = id;
  prepared.request.service_class = request.service_class;
  prepared.request.kv = request.kv;
  if (request.deadline_seconds) {
    prepared.request.deadline = now_ + Duration(*request.deadline_seconds);
  }
  if (request.prompt_tokens + request.max_tokens > model_->context_tokens) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG",
                     absl::StrCat("prompt and answer exceed ", model_->context_tokens, " tokens"));
  }
  prepared.prompt_tokens.resize(request.prompt_tokens, static_cast<int32_t>(next_handle_));
  const int64_t shared = std::min(request.shared_tokens, request.prompt_tokens);
  std::fill_n(prepared.prompt_tokens.begin(), shared, kSharedToken);
  prepared.max_tokens = request.max_tokens;
  KVP_RETURN_IF_ERROR(planner_.PlanRequest(core_.admission(), prepared));
  return prepared;
}

absl::Status Replica::Submit(const TraceRequest& request, const std::string& id,
                             std::shared_ptr<ResponseSink> sink) {
  auto active = std::make_unique<ActiveRequest>();
  KVP_ASSIGN_OR_RETURN(active->prepared, Prepare(request, id));
  KVP_RETURN_IF_ERROR(CheckQueue(CountByClass(core_.waiting()), *core_.admission().slo,
                                 request.service_class, options_.scheduling.max_queued_requests,
                                 [this] { return core_.RetryAfter(0); }));
  executor_.Expect(id, request.output_tokens);
  active->handle = RequestHandle{next_handle_++};
  active->submitted = now_;
  active->sink = std::move(sink);
  core_.Enqueue(std::move(active));
  return absl::OkStatus();
}

uint64_t Replica::Load() const {
  uint64_t bytes = 0;
  for (const auto& request : core_.running()) bytes += request->reserved_bytes;
  for (const auto& request : core_.waiting()) bytes += request->smallest_kv_bytes();
  return bytes;
}

}  // namespace kvpareto::sim
