#include "server/memory_watch.h"

#include "kvpareto/v1/memory.pb.h"
#include "server/memory_snapshot.h"
#include "server/raw_message.h"
#include "server/security/admit.h"
#include "server/status_convert.h"

namespace kvpareto::server {
namespace {

constexpr auto kMinInterval = std::chrono::milliseconds(100);
constexpr auto kMaxInterval = std::chrono::hours(1);

absl::Status Draining() {
  return MakeError(absl::StatusCode::kUnavailable, "DRAINING", "the server is shutting down");
}

absl::StatusOr<std::chrono::milliseconds> ToInterval(const google::protobuf::Duration& proto) {
  const auto interval = std::chrono::milliseconds(proto.nanos() / 1'000'000) +
                        std::chrono::seconds(std::clamp<int64_t>(proto.seconds(), -1, 1'000'000));
  if (interval < kMinInterval || interval > kMaxInterval) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OPTION_INVALID",
                     "interval must be from 0.1 s to 1 h", {{"field", "interval"}});
  }
  return interval;
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* MemoryWatches::Start(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* raw_request) {
  auto* watch = new MemoryWatch(this, context);
  watch->Begin(*raw_request);
  return watch;
}

void MemoryWatches::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  for (MemoryWatch* watch : watches_) watch->Stop(Draining());
}

absl::Status MemoryWatches::Add(MemoryWatch* watch) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return Draining();
  if (watches_.size() >= kMaxWatches) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_WATCHES",
                     "too many clients watch memory; try again");
  }
  watches_.insert(watch);
  return absl::OkStatus();
}

void MemoryWatches::Remove(MemoryWatch* watch) {
  const std::lock_guard lock(mutex_);
  watches_.erase(watch);
}

void MemoryWatch::Begin(const grpc::ByteBuffer& raw_request) {
  absl::Status status = security::Admit(*watches_->access_, *context_).status();
  if (status.ok()) status = Parse(raw_request);
  if (status.ok()) status = watches_->Add(this);
  if (status.ok()) {
    WriteSample();
  } else {
    Finish(ToGrpcStatus(status, context_));
  }
}

absl::Status MemoryWatch::Parse(const grpc::ByteBuffer& raw_request) {
  v1::WatchMemoryRequest request;
  KVP_RETURN_IF_ERROR(ParseRaw(raw_request, &request));
  model_ = request.model();
  if (!model_.empty()) KVP_RETURN_IF_ERROR(watches_->models_->Find(model_).status());
  if (request.has_interval()) {
    KVP_ASSIGN_OR_RETURN(interval_, ToInterval(request.interval()));
  }
  return absl::OkStatus();
}

void MemoryWatch::WriteSample() {
  absl::StatusOr<v1::MemorySnapshot> snapshot = TakeMemorySnapshot(*watches_->models_, model_);
  if (!snapshot.ok()) return Finish(ToGrpcStatus(snapshot.status(), context_));
  v1::WatchMemoryResponse response;
  *response.mutable_memory() = *std::move(snapshot);
  current_ = SerializeRaw(response);
  StartWrite(&current_);
}

void MemoryWatch::OnWriteDone(bool ok) {
  if (!ok) Stop(absl::CancelledError("the client is gone"));
  Pause();
}

void MemoryWatch::Pause() {
  absl::Status stop;
  {
    const std::lock_guard lock(mutex_);
    stop = stop_;
    if (stop.ok()) {
      // Either way the alarm calls back exactly once, on another thread.
      alarm_.Set(std::chrono::system_clock::now() + interval_, [this](bool expired) {
        if (expired) {
          WriteSample();
        } else {
          Pause();  // cancelled: stop_ is set
        }
      });
    }
  }
  if (!stop.ok()) Finish(ToGrpcStatus(stop, context_));
}

void MemoryWatch::Stop(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  if (stop_.ok()) stop_ = status;
  alarm_.Cancel();
}

void MemoryWatch::OnCancel() { Stop(absl::CancelledError("the client cancelled the call")); }

void MemoryWatch::OnDone() {
  watches_->Remove(this);
  delete this;
}

}  // namespace kvpareto::server
