#include "server/generation.h"

#include <atomic>
#include <random>
#include <utility>

#include "server/convert_request.h"
#include "server/log.h"
#include "server/status_convert.h"
#include "server/unary_call.h"
#include "server/utf8.h"

namespace kvpareto::server {
namespace {

// Unique among the processes of a service with high probability, and in this one for certain.
std::string MakeRequestId() {
  static const uint32_t process = std::random_device{}();
  static std::atomic<uint64_t> next{1};
  char text[40];
  std::snprintf(text, sizeof(text), "%08x-%llu", process,
                static_cast<unsigned long long>(next.fetch_add(1)));
  return text;
}

// How much earlier than here a client may find that its deadline has passed: a timeout begins anew
// where the call arrives, and on a busy machine that takes a while.
constexpr std::chrono::milliseconds kClockTolerance{250};

absl::Status DeadlineExceeded() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                   "the deadline has passed");
}

absl::Status ClientCancelled() {
  return MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the client cancelled the call");
}

// The same error, with what had been done until it came.
absl::Status WithProgress(const absl::Status& status, const Usage& usage) {
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  std::map<std::string, std::string> metadata;
  if (info.has_value()) metadata = info->metadata;
  metadata["prompt_tokens"] = std::to_string(usage.prompt_tokens);
  metadata["generated_tokens"] = std::to_string(usage.generated_tokens);
  return MakeError(status.code(), info.has_value() ? info->reason : CodeName(status.code()),
                   std::string(status.message()), std::move(metadata));
}

}  // namespace

absl::Status SlowReader(uint64_t buffer_bytes) {
  return MakeError(absl::StatusCode::kResourceExhausted, "SLOW_READER",
                   "the client reads more slowly than tokens are generated",
                   {{"stream_buffer_bytes", std::to_string(buffer_bytes)}});
}

void Generation::Start() {
  request_id_ = MakeRequestId();  // for the log, whatever comes
  if (!caller_.ok()) return End(caller_.status(), Usage{});
  const bool accepted = resources_.workers->TryRun([self = shared_from_this()] {
    if (const absl::Status status = self->Prepare(); !status.ok()) self->End(status, Usage{});
  });
  if (!accepted) End(TooManyPreparing(), Usage{});
}

absl::Status Generation::Prepare() {
  KVP_ASSIGN_OR_RETURN(v1::GenerateRequest proto, parse_());
  if (!proto.request_id().empty()) {
    request_id_ = TruncateUtf8(proto.request_id(), kMaxRequestIdBytes);  // also of a refusal
  }
  KVP_ASSIGN_OR_RETURN(const Models::Entry model, resources_.models->Find(proto.model()));
  engine_ = model.engine;
  labels_.model = model.name;
  KVP_RETURN_IF_ERROR(caller_->ResolveClass(&proto));
  KVP_ASSIGN_OR_RETURN(Request request, ToRequest(proto, *resources_.service_classes));
  labels_.service_class = request.service_class;
  request.request_id = request_id_;
  detail_ = {.ids = proto.response().token_ids(), .logprobs = proto.response().has_top_logprobs()};
  request.deadline = deadline_;
  // An expired deadline must not become the most urgent one of the queue.
  if (deadline_.has_value() && *deadline_ <= std::chrono::steady_clock::now()) {
    return DeadlineExceeded();
  }
  KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine_->Prepare(std::move(request)));
  finish_reasons_.resize(prepared.request.num_sequences, FinishReason::kLength);
  SetPlanEvent(prepared);
  return Submit(std::move(prepared));
}

absl::Status Generation::Submit(Engine::Prepared prepared) {
  {
    const std::lock_guard lock(mutex_);
    if (client_gone_) return ClientCancelled();
  }
  Register(prepared);
  KVP_ASSIGN_OR_RETURN(const RequestHandle handle,
                       engine_->Submit(std::move(prepared), shared_from_this()));
  bool cancel = false;
  {
    const std::lock_guard lock(mutex_);
    handle_ = handle;
    cancel = client_gone_ || slow_reader_;
  }
  if (cancel) engine_->Cancel(handle);
  return absl::OkStatus();
}

// Under pressure the plan may be another one than was foreseen.
void Generation::OnAdmitted(const Plan& plan) {
  plan_ = plan;
  *plan_event_.mutable_plan()->mutable_kv() = ToProto(plan);
  resources_.running->Update(running_, [](RunningRequest* request) { request->admitted = true; });
  ShowPlan(plan);
}

void Generation::ShowPlan(const Plan& plan) {
  resources_.running->Update(running_, [&](RunningRequest* request) {
    request->config = ConfigName(plan);
    request->predicted_peak_bytes = plan.predicted_peak_bytes;
  });
}

void Generation::SetPlanEvent(const Engine::Prepared& prepared) {
  plan_ = prepared.plan;
  v1::GeneratePlan* plan = plan_event_.mutable_plan();
  plan->set_request_id(request_id_);
  plan->set_model(labels_.model);
  plan->set_prompt_tokens(static_cast<int64_t>(prepared.prompt_tokens.size()));
  plan->set_max_tokens(prepared.max_tokens);
  *plan->mutable_kv() = ToProto(prepared.plan);
}

void Generation::Register(const Engine::Prepared& prepared) {
  running_ = std::make_shared<RunningRequest>();
  running_->request_id = request_id_;
  running_->model = labels_.model;
  running_->service_class = labels_.service_class;
  running_->config = ConfigName(prepared.plan);
  running_->predicted_peak_bytes = prepared.plan.predicted_peak_bytes;
  running_->prompt_tokens = static_cast<int64_t>(prepared.prompt_tokens.size());
  running_->max_tokens = int64_t{prepared.max_tokens} * prepared.request.num_sequences;
  running_->start = std::chrono::steady_clock::now();
  resources_.running->Add(running_);
  LogDebug("request accepted", {{"request_id", request_id_},
                                {"caller", caller_->name()},
                                {"model", labels_.model},
                                {"class", labels_.service_class},
                                {"config", running_->config},
                                {"prompt_tokens", running_->prompt_tokens},
                                {"max_tokens", running_->max_tokens}});
}

void Generation::OnDelta(Delta delta) {
  resources_.running->Update(running_, [&](RunningRequest* request) {
    request->generated_tokens += static_cast<int64_t>(delta.tokens.size());
  });
  if (delta.finish_reason.has_value()) finish_reasons_[delta.sequence] = *delta.finish_reason;
  v1::GenerateResponse event;
  *event.mutable_delta() = ToProto(delta, detail_, *engine_);
  Emit(event);
}

void Generation::OnPlanChanged(const Plan& plan) {
  plan_ = plan;
  ShowPlan(plan);
  v1::GenerateResponse event;
  *event.mutable_plan_changed() = ToProto(plan);
  Emit(event);
}

void Generation::Emit(const v1::GenerateResponse& event) {
  {
    const std::lock_guard lock(mutex_);
    if (client_gone_ || slow_reader_) return;
  }
  if (!std::exchange(plan_sent_, true)) output_->OnEvent(plan_event_);
  if (output_->OnEvent(event)) return;
  {
    const std::lock_guard lock(mutex_);
    slow_reader_ = true;
  }
  CancelInEngine();
}

v1::GenerateResponse Generation::ResultEvent(const Usage& usage) const {
  v1::GenerateResponse event;
  v1::GenerateResult* result = event.mutable_result();
  for (const FinishReason reason : finish_reasons_) result->add_finish_reasons(ToProto(reason));
  *result->mutable_usage() = ToProto(usage, *plan_);
  return event;
}

absl::Status Generation::FinalStatus(const absl::Status& status, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  if (slow_reader_) return WithProgress(SlowReader(resources_.stream_buffer_bytes), usage);
  if (client_gone_) {
    // gRPC also cancels calls whose deadline has passed, by the client's clock.
    const bool late =
        deadline_.has_value() && *deadline_ <= std::chrono::steady_clock::now() + kClockTolerance;
    return WithProgress(late ? DeadlineExceeded() : ClientCancelled(), usage);
  }
  return status.ok() ? status : WithProgress(status, usage);
}

void Generation::OnFinish(const absl::Status& status, const Usage& usage) {
  if (status.code() == absl::StatusCode::kUnavailable) resources_.counter->CountCancelledByDrain();
  if (status.ok()) Emit(ResultEvent(usage));
  End(FinalStatus(status, usage), usage);
}

void Generation::End(const absl::Status& status, const Usage& usage) {
  if (running_ != nullptr) resources_.running->Remove(running_);
  labels_.code = CodeName(status.code());
  // Before the client can see the end, so that a scrape that follows it has counted the request.
  resources_.counter->Count(labels_);
  // The reason, not the message: that may quote the request.
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  LogInfo("request finished", {{"request_id", request_id_},
                               {"caller", caller_.ok() ? caller_->name() : ""},
                               {"model", labels_.model},
                               {"class", labels_.service_class},
                               {"code", labels_.code},
                               {"reason", info.has_value() ? info->reason : ""},
                               {"config", plan_.has_value() ? ConfigName(*plan_) : ""},
                               {"prompt_tokens", usage.prompt_tokens},
                               {"generated_tokens", usage.generated_tokens},
                               {"peak_bytes", usage.measured_peak_bytes},
                               {"seconds", usage.timings.total_seconds}});
  output_->OnEnd(status);
  output_.reset();
}

void Generation::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    client_gone_ = true;
  }
  CancelInEngine();
}

void Generation::CancelInEngine() {
  std::optional<RequestHandle> handle;
  {
    const std::lock_guard lock(mutex_);
    handle = handle_;
  }
  // Not submitted yet: Submit looks again.
  if (handle.has_value()) engine_->Cancel(*handle);
}

}  // namespace kvpareto::server
