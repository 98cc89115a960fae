#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <exception>
#include <utility>

#include "grpc/health/v1/health.pb.h"
#include "server/log.h"

namespace kvpareto::server {
namespace {

absl::Status ListenFailed(const std::string& address, const std::string& why) {
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED",
                   "cannot listen on " + address + ": " + why, {{"address", address}});
}

std::vector<std::string> ServiceNames() {
  return {v1::InferenceService::service_full_name(), v1::ModelService::service_full_name(),
          v1::MemoryService::service_full_name(), v1::AdminService::service_full_name()};
}

void ApplyLimits(const Limits& limits, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(limits.max_request_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                              static_cast<int>(limits.max_metadata_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_streams_per_connection);
  // Finds clients that vanished without closing their connection.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                              static_cast<int>(limits.keepalive_time.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              static_cast<int>(limits.keepalive_timeout.count()));
  // Two servers on one port would each get some of the calls.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

Server::Server(const ServerConfig& config, std::unique_ptr<Models> models)
    : models_(std::move(models)),
      service_classes_(config.service_classes.begin(), config.service_classes.end()),
      slo_(config.slo_path, models_.get(), &service_classes_),
      metrics_(std::make_shared<Metrics>(models_.get(), &counter_, &service_classes_, &slo_)),
      workers_(config.limits.prepare_threads, config.limits.max_preparing_requests),
      health_(models_.get(), ServiceNames(), config.limits.step_stall),
      drainer_(models_.get(), &health_, &counter_),
      inference_service_({.models = models_.get(),
                          .service_classes = &service_classes_,
                          .workers = &workers_,
                          .counter = &counter_,
                          .stream_buffer_bytes = config.limits.stream_buffer_bytes}),
      model_service_(models_.get()),
      memory_service_(models_.get()),
      admin_service_(&drainer_, config.drain_timeout, &slo_) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config,
                                                      std::unique_ptr<Models> models) {
  std::unique_ptr<Server> server(new Server(config, std::move(models)));
  if (!config.slo_path.empty()) {
    KVP_RETURN_IF_ERROR(server->slo_.Reload());
    server->slo_.StartWatching();
  }
  KVP_RETURN_IF_ERROR(server->ListenForMetrics(config.metrics_address));
  KVP_RETURN_IF_ERROR(server->Listen(config));
  return server;
}

absl::Status Server::Listen(const ServerConfig& config) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // Makes the linker keep the description of the health service, which only reflection uses.
  grpc::health::v1::HealthCheckRequest::descriptor();
  grpc::ServerBuilder builder;
  ApplyLimits(config.limits, &builder);
  builder.AddListeningPort(config.grpc_address, grpc::InsecureServerCredentials(), &grpc_port_);
  builder.RegisterService(&inference_service_);
  builder.RegisterService(&model_service_);
  builder.RegisterService(&memory_service_);
  builder.RegisterService(&admin_service_);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || grpc_port_ == 0) {
    return ListenFailed(config.grpc_address, "the address is in use or not ours");
  }
  health_.Attach(grpc_->GetHealthCheckService());
  LogInfo("serving", {{"grpc_address", config.grpc_address}, {"port", int64_t{grpc_port_}}});
  return absl::OkStatus();
}

absl::Status Server::ListenForMetrics(const std::string& address) {
  if (address.empty()) return absl::OkStatus();
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(address);
  } catch (const std::exception& error) {  // civetweb's CivetException among them
    return ListenFailed(address, error.what());
  }
  exposer_->RegisterCollectable(metrics_);
  LogInfo("serving metrics", {{"address", address}, {"port", int64_t{metrics_port()}}});
  return absl::OkStatus();
}

int Server::metrics_port() const {
  if (exposer_ == nullptr) return 0;
  const std::vector<int> ports = exposer_->GetListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

void Server::DrainAndShutdown(std::chrono::steady_clock::time_point deadline) {
  shut_down_ = true;
  drainer_.Drain(deadline);
  memory_service_.StopWatches();
  if (grpc_ != nullptr) {
    grpc_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
    grpc_->Wait();
  }
  LogInfo("stopped");
}

Server::~Server() {
  if (!shut_down_) DrainAndShutdown(std::chrono::steady_clock::now());
  health_.Attach(nullptr);
}

}  // namespace kvpareto::server
