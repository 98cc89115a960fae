#include "server/generate_stream.h"

#include <atomic>
#include <chrono>
#include <random>
#include <utility>

#include "server/convert_request.h"
#include "server/log.h"
#include "server/raw_message.h"
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

absl::Status DeadlineExceeded() {
  return MakeError(absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED",
                   "the deadline has passed");
}

absl::Status ClientCancelled() {
  return MakeError(absl::StatusCode::kCancelled, "CANCELLED", "the client cancelled the call");
}

absl::Status SlowReader(uint64_t buffer_bytes) {
  return MakeError(absl::StatusCode::kResourceExhausted, "SLOW_READER",
                   "the client reads more slowly than tokens are generated",
                   {{"stream_buffer_bytes", std::to_string(buffer_bytes)}});
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

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream::Start(
    const GenerateResources& resources, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer* raw_request) {
  std::shared_ptr<GenerateStream> stream(new GenerateStream(resources, context, raw_request));
  stream->self_ = stream;
  const bool accepted = resources.workers->TryRun([stream] {
    if (const absl::Status status = stream->Prepare(); !status.ok()) stream->End(status, Usage{});
  });
  if (!accepted) stream->End(TooManyPreparing(), Usage{});
  return stream.get();
}

absl::Status GenerateStream::Prepare() {
  v1::GenerateRequest proto;
  KVP_RETURN_IF_ERROR(ParseRaw(*raw_request_, &proto));
  request_id_ = TruncateUtf8(proto.request_id(), kMaxRequestIdBytes);  // for the log of a refusal
  KVP_ASSIGN_OR_RETURN(const Models::Entry model, resources_.models->Find(proto.model()));
  engine_ = model.engine;
  labels_.model = model.name;
  KVP_ASSIGN_OR_RETURN(Request request, ToRequest(proto, *resources_.service_classes));
  labels_.service_class = request.service_class;
  if (request.request_id.empty()) request.request_id = MakeRequestId();
  request_id_ = request.request_id;
  detail_ = {.ids = proto.response().token_ids(), .logprobs = proto.response().has_top_logprobs()};
  request.deadline = deadline_ = ToDeadline(context_->raw_deadline());
  // An expired deadline must not become the most urgent one of the queue.
  if (deadline_.has_value() && *deadline_ <= std::chrono::steady_clock::now()) {
    return DeadlineExceeded();
  }
  KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine_->Prepare(std::move(request)));
  finish_reasons_.resize(prepared.request.num_sequences, FinishReason::kLength);
  SetPlanMessage(prepared);
  return Submit(std::move(prepared));
}

absl::Status GenerateStream::Submit(Engine::Prepared prepared) {
  {
    const std::lock_guard lock(mutex_);
    if (client_gone_) return ClientCancelled();
  }
  KVP_ASSIGN_OR_RETURN(const RequestHandle handle,
                       engine_->Submit(std::move(prepared), shared_from_this()));
  bool cancel = false;
  {
    const std::lock_guard lock(mutex_);
    handle_ = handle;
    cancel = client_gone_ || slow_reader_;
  }
  if (cancel) CancelInEngine();
  return absl::OkStatus();
}

void GenerateStream::SetPlanMessage(const Engine::Prepared& prepared) {
  plan_ = prepared.plan;
  v1::GenerateResponse response;
  v1::GeneratePlan* plan = response.mutable_plan();
  plan->set_request_id(request_id_);
  plan->set_model(labels_.model);
  plan->set_prompt_tokens(static_cast<int64_t>(prepared.prompt_tokens.size()));
  plan->set_max_tokens(prepared.max_tokens);
  *plan->mutable_kv() = ToProto(prepared.plan);
  plan_message_ = SerializeRaw(response);
}

void GenerateStream::OnDelta(Delta delta) {
  v1::GenerateResponse response;
  *response.mutable_delta() = ToProto(delta, detail_, *engine_);
  grpc::ByteBuffer message = SerializeRaw(response);
  bool cancel = false;
  {
    const std::lock_guard lock(mutex_);
    if (client_gone_ || slow_reader_) return;
    if (delta.finish_reason.has_value()) {
      finish_reasons_[delta.sequence] = *delta.finish_reason;
    }
    // A message larger than the whole buffer passes when nothing else waits.
    if (!queue_.empty() && queued_bytes_ + message.Length() > resources_.stream_buffer_bytes) {
      slow_reader_ = true;
      Abandon();
      cancel = true;
    } else {
      Enqueue(std::move(message));
    }
  }
  if (cancel) CancelInEngine();
  Pump();
}

// The plan goes out with the first output, not before: until then an error can still be sent
// without headers, which is what lets clients retry.
void GenerateStream::Enqueue(grpc::ByteBuffer message) {
  if (!plan_sent_) {
    plan_sent_ = true;
    queued_bytes_ += plan_message_.Length();
    queue_.push_back(std::move(plan_message_));
  }
  queued_bytes_ += message.Length();
  queue_.push_back(std::move(message));
}

void GenerateStream::Abandon() {
  queue_.clear();
  queued_bytes_ = 0;
}

grpc::ByteBuffer GenerateStream::ResultMessage(const Usage& usage) const {
  v1::GenerateResponse response;
  v1::GenerateResult* result = response.mutable_result();
  for (const FinishReason reason : finish_reasons_) result->add_finish_reasons(ToProto(reason));
  *result->mutable_usage() = ToProto(usage, *plan_);
  return SerializeRaw(response);
}

absl::Status GenerateStream::FinalStatus(const absl::Status& status, const Usage& usage) const {
  if (status.ok() && !client_gone_ && !slow_reader_) return status;
  if (slow_reader_) return WithProgress(SlowReader(resources_.stream_buffer_bytes), usage);
  if (client_gone_) {
    // gRPC also cancels calls whose deadline has passed.
    const bool late = deadline_.has_value() && *deadline_ <= std::chrono::steady_clock::now();
    return WithProgress(late ? DeadlineExceeded() : ClientCancelled(), usage);
  }
  return WithProgress(status, usage);
}

void GenerateStream::OnFinish(const absl::Status& status, const Usage& usage) {
  if (status.code() == absl::StatusCode::kUnavailable) resources_.counter->CountCancelledByDrain();
  absl::Status verdict;
  {
    const std::lock_guard lock(mutex_);
    verdict = FinalStatus(status, usage);
    if (verdict.ok()) Enqueue(ResultMessage(usage));
  }
  End(verdict, usage);
}

void GenerateStream::End(const absl::Status& status, const Usage& usage) {
  labels_.code = CodeName(status.code());
  // Before the client can see the end, so that a scrape that follows it has counted the request.
  resources_.counter->Count(labels_);
  // The reason, not the message: that may quote the request.
  const std::optional<ErrorInfo> info = GetErrorInfo(status);
  LogInfo("request finished", {{"request_id", request_id_},
                               {"model", labels_.model},
                               {"class", labels_.service_class},
                               {"code", labels_.code},
                               {"reason", info.has_value() ? info->reason : ""},
                               {"config", plan_.has_value() ? ConfigName(*plan_) : ""},
                               {"prompt_tokens", usage.prompt_tokens},
                               {"generated_tokens", usage.generated_tokens},
                               {"peak_bytes", usage.measured_peak_bytes},
                               {"seconds", usage.timings.total_seconds}});
  {
    const std::lock_guard lock(mutex_);
    end_ = status;
  }
  Pump();
}

void GenerateStream::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) {
      client_gone_ = true;
      Abandon();
    }
  }
  if (!ok) CancelInEngine();
  Pump();
}

void GenerateStream::OnCancel() {
  {
    const std::lock_guard lock(mutex_);
    client_gone_ = true;
    Abandon();
  }
  CancelInEngine();
  Pump();
}

void GenerateStream::CancelInEngine() {
  std::optional<RequestHandle> handle;
  {
    const std::lock_guard lock(mutex_);
    handle = handle_;
  }
  // Not submitted yet: Submit looks again.
  if (handle.has_value()) engine_->Cancel(*handle);
}

void GenerateStream::Pump() {
  std::optional<absl::Status> finish_with;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    if (!queue_.empty()) {
      if (writing_) return;
      writing_ = true;
      current_ = std::move(queue_.front());
      queue_.pop_front();
      queued_bytes_ -= current_.Length();
    } else if (end_.has_value() && (!writing_ || slow_reader_ || client_gone_)) {
      // A write that a slow reader holds up is not waited for; the status follows it.
      finished_ = true;
      finish_with = end_;
    } else {
      return;
    }
  }
  if (finish_with.has_value()) {
    Finish(ToGrpcStatus(*finish_with, context_));
  } else {
    StartWrite(&current_);
  }
}

}  // namespace kvpareto::server
