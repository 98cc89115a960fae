// One Generate call: takes the engine's output and writes it to the client.
//
// gRPC buffers without limit when one keeps writing, so there is one outstanding write and a
// bounded queue behind it. A reader that lets the queue overflow loses the request: its memory is
// worth more.
//
// Threads: gRPC's (reactions), a worker (Prepare), the engine's (sink). `mutex_` guards the state;
// neither gRPC nor the engine is called under it.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kvpareto/v1/inference.pb.h"
#include "server/convert_response.h"
#include "server/models.h"
#include "server/request_counter.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

// What every stream uses; outlives them all.
struct GenerateResources {
  const Models* models = nullptr;
  const std::set<std::string>* service_classes = nullptr;
  WorkerPool* workers = nullptr;
  RequestCounter* counter = nullptr;
  uint64_t stream_buffer_bytes = 0;
};

class GenerateStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public ResponseSink,
                             public std::enable_shared_from_this<GenerateStream> {
 public:
  // The reactor of a new call; it owns itself until OnDone. `context` and `raw_request` live until
  // then too.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const GenerateResources& resources,
                                                           grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* raw_request);

  void OnDelta(Delta delta) override;
  void OnFinish(const absl::Status& status, const Usage& usage) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  GenerateStream(const GenerateResources& resources, grpc::CallbackServerContext* context,
                 const grpc::ByteBuffer* raw_request)
      : resources_(resources), context_(context), raw_request_(raw_request) {}

  // Parse, check, tokenize, plan, submit. On error the engine does not know the request.
  absl::Status Prepare();
  absl::Status Submit(Engine::Prepared prepared);
  void SetPlanMessage(const Engine::Prepared& prepared);
  void Enqueue(grpc::ByteBuffer message);  // under mutex_
  void Abandon();                          // under mutex_
  // The verdict on a request that the engine has ended with `status`; under mutex_.
  absl::Status FinalStatus(const absl::Status& status, const Usage& usage) const;
  grpc::ByteBuffer ResultMessage(const Usage& usage) const;
  // Nothing more will be enqueued. Counts and logs the request.
  void End(const absl::Status& status, const Usage& usage);
  void CancelInEngine();
  // Starts the next write, or finishes the call, if it is time to.
  void Pump();

  const GenerateResources resources_;
  grpc::CallbackServerContext* const context_;
  const grpc::ByteBuffer* const raw_request_;
  std::shared_ptr<GenerateStream> self_;

  // Set by Prepare, before the engine knows the request; constant from then on.
  Engine* engine_ = nullptr;
  std::string request_id_;
  RequestCounter::Key labels_{RequestCounter::kUnknown, RequestCounter::kUnknown, ""};
  TokenDetail detail_;
  std::optional<Plan> plan_;  // none: refused before there was one
  grpc::ByteBuffer plan_message_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;

  std::mutex mutex_;
  std::optional<RequestHandle> handle_;
  std::deque<grpc::ByteBuffer> queue_;
  size_t queued_bytes_ = 0;
  grpc::ByteBuffer current_;  // of the outstanding write
  bool plan_sent_ = false;    // or in the queue
  bool writing_ = false;
  bool client_gone_ = false;
  bool slow_reader_ = false;
  std::vector<FinishReason> finish_reasons_;  // by sequence
  std::optional<absl::Status> end_;           // once nothing more will be enqueued
  bool finished_ = false;                     // Finish has been called
};

}  // namespace kvpareto::server
