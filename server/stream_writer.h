// Writes messages to one gRPC stream. gRPC buffers without limit when one keeps writing, so there
// is one outstanding write and a bounded queue behind it.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "server/status.h"
#include "server/status_convert.h"

namespace kvpareto::server {

// `Reactor`: grpc::ServerWriteReactor or grpc::ServerBidiReactor. Any thread may call; gRPC is
// never called under the lock.
template <typename Reactor>
class StreamWriter {
 public:
  StreamWriter(Reactor* reactor, grpc::ServerContextBase* context, uint64_t max_queued_bytes)
      : reactor_(reactor), context_(context), max_queued_bytes_(max_queued_bytes) {}

  // False when the client reads so slowly that the queue is full; then the stream is abandoned. A
  // message larger than the whole queue passes when nothing else waits.
  bool Push(grpc::ByteBuffer message) {
    {
      const std::lock_guard lock(mutex_);
      if (abandoned_) return true;
      if (!queue_.empty() && queued_bytes_ + message.Length() > max_queued_bytes_) {
        AbandonLocked();
        return false;
      }
      Enqueue(std::move(message));
    }
    Pump();
    return true;
  }

  // The same for the message that completes an answer: it is never too much.
  void PushLast(grpc::ByteBuffer message) {
    {
      const std::lock_guard lock(mutex_);
      if (!abandoned_) Enqueue(std::move(message));
    }
    Pump();
  }

  // Ends the call with `status` after what is queued. The first call counts.
  void End(const absl::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (end_.has_value()) return;
      end_ = status;
    }
    Pump();
  }

  // Nobody reads any more: drops the queue and whatever is pushed later; the end does not wait for
  // the outstanding write.
  void Abandon() {
    {
      const std::lock_guard lock(mutex_);
      AbandonLocked();
    }
    Pump();
  }

  // For Reactor::OnWriteDone.
  void OnWriteDone(bool ok) {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      if (!ok) AbandonLocked();
    }
    Pump();
  }

 private:
  void Enqueue(grpc::ByteBuffer message) {
    queued_bytes_ += message.Length();
    queue_.push_back(std::move(message));
  }

  void AbandonLocked() {
    abandoned_ = true;
    queue_.clear();
    queued_bytes_ = 0;
  }

  // Starts the next write, or finishes the call, if it is time to. One thread at a time calls gRPC,
  // which takes no two calls at once, and looks again when it is back: until then, nothing that
  // could end the reactor is begun.
  void Pump() {
    std::unique_lock lock(mutex_);
    if (calling_ || finished_) return;
    calling_ = true;
    while (NextWrite()) {
      lock.unlock();
      reactor_->StartWrite(&current_);
      lock.lock();
    }
    calling_ = false;
    if (!queue_.empty() || !end_.has_value() || (writing_ && !abandoned_)) return;
    finished_ = true;
    const grpc::Status status = ToGrpcStatus(*end_, context_);
    lock.unlock();
    reactor_->Finish(status);  // from here on, this may be gone
  }

  bool NextWrite() {
    if (writing_ || queue_.empty()) return false;
    writing_ = true;
    current_ = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= current_.Length();
    return true;
  }

  Reactor* const reactor_;
  grpc::ServerContextBase* const context_;
  const uint64_t max_queued_bytes_;

  std::mutex mutex_;
  std::deque<grpc::ByteBuffer> queue_;
  size_t queued_bytes_ = 0;
  grpc::ByteBuffer current_;  // of the outstanding write
  bool writing_ = false;
  bool calling_ = false;  // a thread is in Pump, perhaps in StartWrite
  bool abandoned_ = false;
  bool finished_ = false;            // Finish has been called
  std::optional<absl::Status> end_;  // set once
};

}  // namespace kvpareto::server
