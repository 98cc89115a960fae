// What grpc.health.v1 answers. "" is liveness: the process serves, and no engine is stuck or has
// failed. Each of
// our services is readiness: live, and not draining. Unknown names are NOT_FOUND, Watch follows
// changes (gRPC's own implementation).
#pragma once

#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/models.h"

namespace kvpareto::server {

class Health {
 public:
  // `models` outlives this object. `on_failure` is called once, on this object's thread, when an
  // engine has failed for good.
  Health(const Models* models, std::vector<std::string> service_names,
         std::chrono::milliseconds step_stall, std::function<void()> on_failure = nullptr);
  ~Health();
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  // Where to publish: gRPC's service, which exists once the server has started and until it is
  // destroyed; null: nowhere.
  void Attach(grpc::HealthCheckServiceInterface* service);
  // From now on no service is ready.
  void SetDraining();
  // No engine is stuck or has failed.
  bool live() const;
  // Live, and not draining.
  bool ready() const;

 private:
  static constexpr auto kPeriod = std::chrono::milliseconds(500);

  void Loop();
  std::string Trouble(bool* failed) const;
  void Publish();  // under mutex_

  const Models* const models_;
  const std::vector<std::string> service_names_;
  const std::chrono::milliseconds step_stall_;
  const std::function<void()> on_failure_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  grpc::HealthCheckServiceInterface* service_ = nullptr;
  bool draining_ = false;
  bool stopping_ = false;
  bool live_ = true;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace kvpareto::server
