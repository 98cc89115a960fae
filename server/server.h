// The whole server: services, health, reflection and metrics around a set of models.
#pragma once

#include <grpcpp/server.h>
#include <prometheus/exposer.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include "server/admin_service.h"
#include "server/config.h"
#include "server/drainer.h"
#include "server/health.h"
#include "server/inference_service.h"
#include "server/memory_service.h"
#include "server/metrics.h"
#include "server/model_service.h"
#include "server/models.h"
#include "server/request_counter.h"
#include "server/slo_loader.h"
#include "server/status.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

class Server {
 public:
  // Listens and serves. Errors: UNAVAILABLE (LISTEN_FAILED) naming the address; of
  // SloLoader::Reload.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config,
                                                       std::unique_ptr<Models> models);
  // Shuts down at once if that has not been done.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int grpc_port() const { return grpc_port_; }
  // 0 without a metrics port. As configured: an address with port 0 gets a free one.
  int metrics_port() const;
  const Metrics& metrics() const { return *metrics_; }

  // Reads the SLO file again.
  absl::Status ReloadSlo() { return slo_.Reload(); }

  // Drains until `deadline`, then closes every connection. Not from two threads at once.
  void DrainAndShutdown(std::chrono::steady_clock::time_point deadline);

 private:
  // How long calls that are over may take to tell their clients.
  static constexpr auto kGoodbye = std::chrono::milliseconds(500);

  Server(const ServerConfig& config, std::unique_ptr<Models> models);
  absl::Status Listen(const ServerConfig& config);
  absl::Status ListenForMetrics(const std::string& address);

  // In order of construction: what is below uses what is above.
  const std::unique_ptr<Models> models_;
  const std::set<std::string> service_classes_;
  SloLoader slo_;
  RequestCounter counter_;
  const std::shared_ptr<Metrics> metrics_;
  WorkerPool workers_;
  Health health_;
  Drainer drainer_;
  InferenceService inference_service_;
  ModelService model_service_;
  MemoryService memory_service_;
  AdminService admin_service_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int grpc_port_ = 0;
  bool shut_down_ = false;
};

}  // namespace kvpareto::server
