// One ModelStreamInfer call: any number of generations at once, their responses in the order in
// which they come.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <map>
#include <memory>
#include <mutex>

#include "inference/open_inference.pb.h"
#include "server/generation.h"
#include "server/stream_writer.h"

namespace kvpareto::server::oip {

class InferStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                          public std::enable_shared_from_this<InferStream> {
 public:
  // The reactor of a new call; it owns itself until OnDone. At most `max_requests` run at once;
  // more are read when others have ended.
  static grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Start(
      const GenerateResources& resources, grpc::CallbackServerContext* context, int max_requests);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { self_.reset(); }

 private:
  class Output;  // of one request

  InferStream(const GenerateResources& resources, grpc::CallbackServerContext* context,
              int max_requests);
  // The request in read_. On error nothing runs.
  absl::Status StartRequest(const inference::ModelInferRequest& request);
  // A request that was started has ended.
  void OnRequestEnd(uint64_t number, const std::string& id, const absl::Status& status);
  void ReportError(const std::string& id, const absl::Status& status);
  void CancelRequests();
  // Reads the next request, or ends the call, if it is time to.
  void Continue();

  const GenerateResources resources_;
  grpc::CallbackServerContext* const context_;
  const absl::StatusOr<security::Caller> caller_;
  const size_t max_requests_;
  const bool errors_end_the_call_;  // header triton_grpc_error: true
  StreamWriter<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>> writer_;
  std::shared_ptr<InferStream> self_;
  grpc::ByteBuffer read_;

  std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Generation>> running_;
  uint64_t last_number_ = 0;
  int reporting_ = 0;     // requests that have ended and may still have an error to report
  bool reading_ = false;  // read_ is taken, until its request is started or its error reported
  bool no_more_reads_ = false;  // the client has closed its side, or the call is over
};

}  // namespace kvpareto::server::oip
