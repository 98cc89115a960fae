#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "grpc/health/v1/health.pb.h"
#include "server/listen_address.h"
#include "server/log.h"
#include "server/openai/error.h"
#include "server/security/tls.h"

namespace kvpareto::server {
namespace {

std::vector<std::string> ServiceNames() {
  return {v1::InferenceService::service_full_name(), v1::ModelService::service_full_name(),
          v1::MemoryService::service_full_name(), v1::AdminService::service_full_name(),
          inference::GRPCInferenceService::service_full_name()};
}

// gRPC's reflection asks nobody for credentials: it is not there where they are needed.
bool HasReflection(const SecurityConfig& security) {
  return security.reflection && security.identities.empty();
}

void ApplyLimits(const Limits& limits, grpc::ServerBuilder* builder) {
  builder->SetResourceQuota(
      grpc::ResourceQuota("kvpareto").Resize(static_cast<size_t>(limits.request_memory_bytes)));
  builder->SetMaxReceiveMessageSize(static_cast<int>(limits.max_request_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                              static_cast<int>(limits.max_metadata_bytes));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_streams_per_connection);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                              static_cast<int>(limits.max_connection_idle.count()));
  // Finds clients that vanished without closing their connection.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                              static_cast<int>(limits.keepalive_time.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              static_cast<int>(limits.keepalive_timeout.count()));
  // Two servers on one port would each get some of the calls.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

Server::Server(const ServerConfig& config, std::unique_ptr<Models> models,
               std::unique_ptr<security::Access> access, std::function<void()> on_failure)
    : models_(std::move(models)),
      access_(std::move(access)),
      service_classes_(config.service_classes.begin(), config.service_classes.end()),
      slo_(config.slo_path, models_.get(), &service_classes_),
      metrics_(std::make_unique<Metrics>(models_.get(), &counter_, &service_classes_, &slo_)),
      workers_(config.limits.prepare_threads, config.limits.max_preparing_requests),
      resources_{.models = models_.get(),
                 .access = access_.get(),
                 .service_classes = &service_classes_,
                 .workers = &workers_,
                 .counter = &counter_,
                 .running = &running_,
                 .stream_buffer_bytes = config.limits.stream_buffer_bytes},
      health_(models_.get(), ServiceNames(), config.limits.step_stall, std::move(on_failure)),
      drainer_(models_.get(), &health_, &counter_),
      inference_service_(resources_),
      model_service_(models_.get(), access_.get()),
      memory_service_(models_.get(), access_.get()),
      admin_service_(&drainer_, access_.get(), config.drain_timeout, &slo_),
      open_inference_service_(resources_, &health_, config.limits.max_streams_per_connection),
      unknown_methods_(access_.get()),
      no_reflection_(access_.get()),
      openai_api_(resources_, config.limits.http.request_timeout),
      metrics_port_(metrics_.get(), models_.get(), &running_, &health_) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config,
                                                      std::unique_ptr<Models> models,
                                                      std::function<void()> on_failure) {
  const std::set<std::string> classes(config.service_classes.begin(), config.service_classes.end());
  KVP_ASSIGN_OR_RETURN(std::unique_ptr<security::Access> access,
                       security::Access::Create(config.security.identities, classes));
  std::unique_ptr<Server> server(
      new Server(config, std::move(models), std::move(access), std::move(on_failure)));
  if (!config.slo_path.empty()) {
    KVP_RETURN_IF_ERROR(server->slo_.Reload());
    server->slo_.StartWatching();
  }
  KVP_RETURN_IF_ERROR(server->ListenForMetrics(config.metrics_address));
  KVP_RETURN_IF_ERROR(server->ListenForHttp(config));
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
  builder.AddListeningPort(config.grpc_address, security::GrpcCredentials(config.security.tls),
                           &grpc_port_);
  builder.RegisterService(&inference_service_);
  builder.RegisterService(&model_service_);
  builder.RegisterService(&memory_service_);
  if (config.security.admin) builder.RegisterService(&admin_service_);
  builder.RegisterService(&open_inference_service_);
  if (!HasReflection(config.security)) builder.RegisterService(&no_reflection_);
  builder.RegisterCallbackGenericService(&unknown_methods_);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || grpc_port_ == 0) {
    return ListenFailed(config.grpc_address, "the address is in use or not ours");
  }
  health_.Attach(grpc_->GetHealthCheckService());
  LogInfo("serving", {{"grpc_address", config.grpc_address}, {"port", int64_t{grpc_port_}}});
  return absl::OkStatus();
}

absl::Status Server::ListenForHttp(const ServerConfig& config) {
  if (config.http_address.empty()) return absl::OkStatus();
  http::Options options{.address = config.http_address,
                        .max_body_bytes = config.limits.max_request_bytes,
                        .max_header_bytes = config.limits.max_metadata_bytes,
                        .max_queued_bytes = config.limits.stream_buffer_bytes,
                        .max_input_bytes = config.limits.request_memory_bytes,
                        .limits = config.limits.http.connections,
                        .refusal = openai::ErrorResponse};
  if (config.security.tls.enabled()) {
    KVP_ASSIGN_OR_RETURN(auto context, security::MakeTlsContext(config.security.tls));
    options.tls = security::TlsContextSource(config.security.tls, std::move(context));
  }
  const auto handle = [this](std::shared_ptr<http::Exchange> exchange) {
    openai_api_.Handle(std::move(exchange));
  };
  KVP_ASSIGN_OR_RETURN(http_, http::Server::Start(options, handle));
  LogInfo("serving http", {{"address", config.http_address}, {"port", int64_t{http_->port()}}});
  return absl::OkStatus();
}

absl::Status Server::ListenForMetrics(const std::string& address) {
  if (address.empty()) return absl::OkStatus();
  const auto handle = [this](std::shared_ptr<http::Exchange> exchange) {
    metrics_port_.Handle(std::move(exchange));
  };
  KVP_ASSIGN_OR_RETURN(metrics_http_, http::Server::Start({.address = address}, handle));
  LogInfo("serving metrics", {{"address", address}, {"port", int64_t{metrics_port()}}});
  return absl::OkStatus();
}

void Server::DrainAndShutdown(std::chrono::steady_clock::time_point deadline) {
  shut_down_ = true;
  drainer_.Drain(deadline);
  memory_service_.StopWatches();
  if (http_ != nullptr) http_->Stop(kGoodbye);
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
