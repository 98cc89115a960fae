// The server's configuration file. deploy/server.example.yaml shows and explains every key.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/http/limits.h"
#include "server/log.h"
#include "server/security/tls_files.h"
#include "server/status.h"

namespace kvpareto::server {

struct ModelEntry {
  std::string name;  // as in requests and metric labels
  EngineOptions engine;
};

// Of OpenAI's API over HTTP, besides those of both transports in Limits.
struct HttpLimits {
  // A request's deadline, from its arrival to the end of its answer.
  std::chrono::milliseconds request_timeout{600'000};
  http::Limits connections;
};

struct Limits {
  uint64_t max_request_bytes = uint64_t{4} << 20;
  uint64_t max_metadata_bytes = uint64_t{16} << 10;
  // Responses that wait for a slow reader, per stream, besides what the transport holds.
  uint64_t stream_buffer_bytes = uint64_t{256} << 10;
  // Requests that are being received, and what is kept of them until they are answered; of gRPC and
  // of HTTP each.
  uint64_t request_memory_bytes = uint64_t{256} << 20;
  int max_streams_per_connection = 256;
  std::chrono::milliseconds max_connection_idle{1'800'000};  // of gRPC
  int prepare_threads = 2;                                   // that parse, tokenize and plan
  int max_preparing_requests = 256;
  std::chrono::milliseconds keepalive_time{60'000};
  std::chrono::milliseconds keepalive_timeout{20'000};
  // An engine that has work and does not get on with it for longer turns health to NOT_SERVING.
  std::chrono::milliseconds step_stall{60'000};
  HttpLimits http;
};

struct SecurityConfig {
  // Clear text may be served to other machines.
  bool insecure = false;
  security::TlsFiles tls;  // of gRPC and HTTP
  std::string identities;  // who may call; empty: everybody
  bool reflection = true;  // of gRPC; never with identities
  bool admin = true;       // kvpareto.v1.AdminService
};

struct ServerConfig {
  std::string grpc_address = "127.0.0.1:50051";
  std::string http_address;                        // OpenAI's API; empty: none
  std::string metrics_address = "127.0.0.1:9464";  // empty: no metrics port
  std::vector<ModelEntry> models;
  std::string default_model;                            // a name in `models`
  std::vector<std::string> service_classes{"default"};  // always with "default"
  std::string slo_path;                                 // memory SLOs; empty: none
  Limits limits;
  SecurityConfig security;
  std::chrono::milliseconds drain_timeout{30'000};
  LogOptions log;
};

// Relative paths are relative to `folder`. Errors: INVALID_ARGUMENT (CONFIG_INVALID) with file,
// line and key.
absl::StatusOr<ServerConfig> ParseServerConfig(const std::string& yaml,
                                               const std::string& file_name,
                                               const std::string& folder);
// Paths in the file are relative to the file's folder. Errors also: NOT_FOUND.
absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path);

}  // namespace kvpareto::server
