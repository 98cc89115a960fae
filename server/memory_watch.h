// WatchMemory calls: a sample, a pause, a sample, ...; a slow reader gets fewer samples, not late
// ones.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <mutex>
#include <set>
#include <string>

#include "server/models.h"
#include "server/security/access.h"
#include "server/status.h"

namespace kvpareto::server {

class MemoryWatch;

// The watches that are going on. Thread-safe.
class MemoryWatches {
 public:
  MemoryWatches(const Models* models, const security::Access* access)
      : models_(models), access_(access) {}

  // The reactor of a new call, or of its refusal.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* raw_request);
  // Ends every watch with UNAVAILABLE (DRAINING), and those that come later.
  void Stop();

 private:
  friend class MemoryWatch;
  static constexpr size_t kMaxWatches = 256;

  absl::Status Add(MemoryWatch* watch);
  void Remove(MemoryWatch* watch);

  const Models* const models_;
  const security::Access* const access_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::set<MemoryWatch*> watches_;
};

// One watch; deletes itself when done.
class MemoryWatch final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  MemoryWatch(MemoryWatches* watches, grpc::CallbackServerContext* context)
      : watches_(watches), context_(context) {}

  void Begin(const grpc::ByteBuffer& raw_request);
  // Finishes with `status` once what is under way is over.
  void Stop(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  absl::Status Parse(const grpc::ByteBuffer& raw_request);
  void WriteSample();
  void Pause();

  MemoryWatches* const watches_;
  grpc::CallbackServerContext* const context_;
  std::string model_;
  std::chrono::milliseconds interval_{1000};
  grpc::ByteBuffer current_;

  std::mutex mutex_;
  grpc::Alarm alarm_;
  absl::Status stop_;  // not OK: finish
};

}  // namespace kvpareto::server
