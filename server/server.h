// The whole server: services, health, reflection and metrics around a set of models.
#pragma once

#include <grpcpp/server.h>

#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>

#include "server/admin_service.h"
#include "server/config.h"
#include "server/drainer.h"
#include "server/health.h"
#include "server/http/server.h"
#include "server/inference_service.h"
#include "server/memory_service.h"
#include "server/metrics.h"
#include "server/model_service.h"
#include "server/models.h"
#include "server/oip/service.h"
#include "server/openai/api.h"
#include "server/request_counter.h"
#include "server/running_requests.h"
#include "server/security/access.h"
#include "server/slo_loader.h"
#include "server/status.h"
#include "server/status_page/metrics_port.h"
#include "server/unknown_methods.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

class Server {
 public:
  // Listens and serves. `on_failure` is called once, on a thread of the server, when an engine has
  // failed for good: the process should end, so that its supervisor starts another one. Errors:
  // UNAVAILABLE (LISTEN_FAILED) naming the address; of SloLoader::Reload.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config,
                                                       std::unique_ptr<Models> models,
                                                       std::function<void()> on_failure = nullptr);
  // Shuts down at once if that has not been done.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int grpc_port() const { return grpc_port_; }
  // 0 without a port for OpenAI's API.
  int http_port() const { return http_ == nullptr ? 0 : http_->port(); }
  // 0 without a metrics port. As configured: an address with port 0 gets a free one.
  int metrics_port() const { return metrics_http_ == nullptr ? 0 : metrics_http_->port(); }
  const Metrics& metrics() const { return *metrics_; }

  // Reads the SLO file again.
  absl::Status ReloadSlo() { return slo_.Reload(); }

  // Drains until `deadline`, then closes every connection. Not from two threads at once.
  void DrainAndShutdown(std::chrono::steady_clock::time_point deadline);

 private:
  // How long calls that are over may take to tell their clients.
  static constexpr auto kGoodbye = std::chrono::milliseconds(500);

  Server(const ServerConfig& config, std::unique_ptr<Models> models,
         std::unique_ptr<security::Access> access, std::function<void()> on_failure);
  absl::Status Listen(const ServerConfig& config);
  absl::Status ListenForHttp(const ServerConfig& config);
  absl::Status ListenForMetrics(const std::string& address);

  // In order of construction: what is below uses what is above.
  const std::unique_ptr<Models> models_;
  const std::unique_ptr<security::Access> access_;
  const std::set<std::string> service_classes_;
  SloLoader slo_;
  RequestCounter counter_;
  RunningRequests running_;
  const std::unique_ptr<Metrics> metrics_;
  WorkerPool workers_;
  const GenerateResources resources_;
  Health health_;
  Drainer drainer_;
  InferenceService inference_service_;
  ModelService model_service_;
  MemoryService memory_service_;
  AdminService admin_service_;
  oip::Service open_inference_service_;
  UnknownMethods unknown_methods_;
  NoReflection no_reflection_;
  openai::Api openai_api_;
  MetricsPort metrics_port_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<http::Server> metrics_http_;
  std::unique_ptr<grpc::Server> grpc_;
  int grpc_port_ = 0;
  bool shut_down_ = false;
};

}  // namespace kvpareto::server
