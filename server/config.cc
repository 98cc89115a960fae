#include "server/config.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "server/listen_address.h"
#include "server/yaml_map.h"

namespace kvpareto::server {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxCount = 1'000'000;
constexpr int kMaxTokens = 1 << 30;

// Names appear in metric labels, logs and requests.
bool IsName(const std::string& text) {
  if (text.empty() || text.size() > 64) return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/' || c == ':';
  });
}

constexpr char kNameRule[] = "must be 1 to 64 letters, digits or any of - _ . / :";

std::string Resolve(const std::string& path, const std::string& folder) {
  if (path.empty() || path.front() == '/') return path;
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

absl::Status ReadEngineLimits(YamlMap* map, EngineOptions* engine) {
  KVP_RETURN_IF_ERROR(map->ReadInt("max_step_tokens", 64, 65536, &engine->max_step_tokens));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("max_running_sequences", 1, 4096, &engine->max_running_sequences));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("max_queued_requests", 1, kMaxCount, &engine->max_queued_requests));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("max_sequences_per_request", 1, 4096, &engine->max_sequences_per_request));
  KVP_RETURN_IF_ERROR(map->ReadInt("max_prompt_tokens", 0, kMaxTokens, &engine->max_prompt_tokens));
  KVP_RETURN_IF_ERROR(map->ReadInt("max_answer_tokens", 0, kMaxTokens, &engine->max_answer_tokens));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("default_max_tokens", 1, kMaxCount, &engine->default_max_tokens));
  KVP_RETURN_IF_ERROR(map->ReadInt("max_stop_strings", 0, 1024, &engine->max_stop_strings));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("max_stop_string_bytes", 1, 65536, &engine->max_stop_string_bytes));
  KVP_RETURN_IF_ERROR(map->ReadInt("max_top_logprobs", 0, 1024, &engine->max_top_logprobs));
  return map->CheckNoOtherKeys();
}

absl::StatusOr<ModelEntry> ReadModel(YamlMap* map, const std::string& folder) {
  ModelEntry model;
  KVP_RETURN_IF_ERROR(map->Read("name", &model.name));
  KVP_RETURN_IF_ERROR(map->Read("path", &model.engine.model_path));
  KVP_RETURN_IF_ERROR(map->Read("table", &model.engine.table_path));
  KVP_RETURN_IF_ERROR(map->Read("calibration", &model.engine.calibration_path));
  KVP_RETURN_IF_ERROR(
      map->ReadBytes("kv_capacity", uint64_t{1} << 20, &model.engine.kv_capacity_bytes));
  model.engine.prefix_cache_bytes = model.engine.kv_capacity_bytes;
  KVP_RETURN_IF_ERROR(map->ReadBytes("prefix_cache", 0, &model.engine.prefix_cache_bytes));
  KVP_RETURN_IF_ERROR(map->ReadInt("threads", 0, kMaxThreads, &model.engine.threads));
  model.engine.self_test = true;
  KVP_RETURN_IF_ERROR(map->ReadBool("self_test", &model.engine.self_test));
  KVP_RETURN_IF_ERROR(map->Read("isa", &model.engine.isa));
  KVP_RETURN_IF_ERROR(map->Read("device", &model.engine.device));
  KVP_ASSIGN_OR_RETURN(YamlMap limits, map->Map("limits"));
  KVP_RETURN_IF_ERROR(ReadEngineLimits(&limits, &model.engine));
  KVP_RETURN_IF_ERROR(map->CheckNoOtherKeys());
  if (!IsName(model.name)) return map->Error("name", kNameRule);
  if (model.engine.model_path.empty()) return map->Error("path", "is missing");
  model.engine.model_path = Resolve(model.engine.model_path, folder);
  model.engine.table_path = Resolve(model.engine.table_path, folder);
  model.engine.calibration_path = Resolve(model.engine.calibration_path, folder);
  if (const absl::Status status = model.engine.Validate(); !status.ok()) {
    return map->Error("", std::string(status.message()));
  }
  return model;
}

absl::Status ReadModels(YamlMap* root, const std::string& folder, ServerConfig* config) {
  KVP_ASSIGN_OR_RETURN(std::vector<YamlMap> maps, root->ListOfMaps("models"));
  std::set<std::string> names;
  for (YamlMap& map : maps) {
    KVP_ASSIGN_OR_RETURN(ModelEntry model, ReadModel(&map, folder));
    if (!names.insert(model.name).second) return map.Error("name", "is used twice");
    config->models.push_back(std::move(model));
  }
  if (config->models.empty()) return root->Error("models", "at least one model is needed");
  config->default_model = config->models.front().name;
  KVP_RETURN_IF_ERROR(root->Read("default_model", &config->default_model));
  if (!names.contains(config->default_model)) {
    return root->Error("default_model", "names no model of this file");
  }
  return absl::OkStatus();
}

absl::Status ReadServiceClasses(YamlMap* root, ServerConfig* config) {
  std::vector<std::string>& classes = config->service_classes;
  KVP_RETURN_IF_ERROR(root->Read("service_classes", &classes));
  for (const std::string& name : classes) {
    if (!IsName(name)) return root->Error("service_classes", kNameRule);
  }
  if (std::find(classes.begin(), classes.end(), "default") == classes.end()) {
    classes.push_back("default");
  }
  return absl::OkStatus();
}

absl::Status ReadHttpLimits(YamlMap* map, HttpLimits* limits) {
  constexpr std::chrono::milliseconds kShortest{1};
  http::Limits& connections = limits->connections;
  KVP_RETURN_IF_ERROR(map->ReadDuration("request_timeout", kShortest, &limits->request_timeout));
  KVP_RETURN_IF_ERROR(map->ReadDuration("read_timeout", kShortest, &connections.read_timeout));
  KVP_RETURN_IF_ERROR(map->ReadDuration("idle_timeout", kShortest, &connections.idle_timeout));
  KVP_RETURN_IF_ERROR(map->ReadDuration("write_timeout", kShortest, &connections.write_timeout));
  KVP_RETURN_IF_ERROR(map->ReadInt("max_connections", 1, kMaxCount, &connections.max_connections));
  return map->CheckNoOtherKeys();
}

absl::Status ReadConnectionLimits(YamlMap* map, Limits* limits) {
  using std::chrono::milliseconds;
  KVP_RETURN_IF_ERROR(map->ReadInt("max_streams_per_connection", 1, kMaxCount,
                                   &limits->max_streams_per_connection));
  KVP_RETURN_IF_ERROR(
      map->ReadDuration("max_connection_idle", milliseconds(1000), &limits->max_connection_idle));
  KVP_RETURN_IF_ERROR(
      map->ReadDuration("keepalive_time", milliseconds(1000), &limits->keepalive_time));
  return map->ReadDuration("keepalive_timeout", milliseconds(1000), &limits->keepalive_timeout);
}

absl::Status ReadLimits(YamlMap* map, Limits* limits) {
  using std::chrono::milliseconds;
  KVP_RETURN_IF_ERROR(map->ReadBytes("max_request_bytes", 1024, &limits->max_request_bytes));
  if (limits->max_request_bytes > uint64_t{1} << 30) {
    return map->Error("max_request_bytes", "must be at most 1GiB");
  }
  KVP_RETURN_IF_ERROR(map->ReadBytes("max_metadata_bytes", 1024, &limits->max_metadata_bytes));
  if (limits->max_metadata_bytes > uint64_t{1} << 20) {
    return map->Error("max_metadata_bytes", "must be at most 1MiB");
  }
  KVP_RETURN_IF_ERROR(map->ReadBytes("stream_buffer_bytes", 1024, &limits->stream_buffer_bytes));
  KVP_RETURN_IF_ERROR(
      map->ReadBytes("request_memory", uint64_t{1} << 20, &limits->request_memory_bytes));
  KVP_RETURN_IF_ERROR(ReadConnectionLimits(map, limits));
  KVP_RETURN_IF_ERROR(map->ReadInt("prepare_threads", 1, kMaxThreads, &limits->prepare_threads));
  KVP_RETURN_IF_ERROR(
      map->ReadInt("max_preparing_requests", 1, kMaxCount, &limits->max_preparing_requests));
  KVP_RETURN_IF_ERROR(map->ReadDuration("step_stall", milliseconds(1000), &limits->step_stall));
  KVP_ASSIGN_OR_RETURN(YamlMap http, map->Map("http"));
  KVP_RETURN_IF_ERROR(ReadHttpLimits(&http, &limits->http));
  return map->CheckNoOtherKeys();
}

absl::Status ReadLog(YamlMap* map, LogOptions* log) {
  std::string format = "text", level = "info";
  KVP_RETURN_IF_ERROR(map->Read("format", &format));
  if (format != "text" && format != "json") {
    return map->Error("format", "\"" + format + "\" must be text or json");
  }
  log->format = format == "json" ? LogFormat::kJson : LogFormat::kText;
  KVP_RETURN_IF_ERROR(map->Read("level", &level));
  const std::optional<LogLevel> found = FindLogLevel(level);
  if (!found.has_value()) {
    return map->Error("level", "\"" + level + "\" must be debug, info, warning or error");
  }
  log->level = *found;
  return map->CheckNoOtherKeys();
}

absl::Status ReadListen(YamlMap* map, ServerConfig* config) {
  KVP_RETURN_IF_ERROR(map->Read("grpc", &config->grpc_address));
  KVP_RETURN_IF_ERROR(map->Read("http", &config->http_address));
  KVP_RETURN_IF_ERROR(map->Read("metrics", &config->metrics_address));
  if (config->grpc_address.empty()) return map->Error("grpc", "is empty");
  return map->CheckNoOtherKeys();
}

absl::Status ReadTls(YamlMap* map, const std::string& folder, security::TlsFiles* tls) {
  KVP_RETURN_IF_ERROR(map->Read("certificate", &tls->certificate));
  KVP_RETURN_IF_ERROR(map->Read("key", &tls->key));
  KVP_RETURN_IF_ERROR(map->Read("client_ca", &tls->client_ca));
  KVP_RETURN_IF_ERROR(map->CheckNoOtherKeys());
  if (tls->certificate.empty() != tls->key.empty()) {
    return map->Error("", "needs certificate and key, or neither");
  }
  if (!tls->client_ca.empty() && !tls->enabled()) {
    return map->Error("client_ca", "needs certificate and key");
  }
  tls->certificate = Resolve(tls->certificate, folder);
  tls->key = Resolve(tls->key, folder);
  tls->client_ca = Resolve(tls->client_ca, folder);
  return absl::OkStatus();
}

// Prompts, answers and tokens cross a network only if they are protected or someone has said that
// they need not be.
absl::Status CheckAddresses(const YamlMap& map, const ServerConfig& config) {
  if (config.security.insecure || config.security.tls.enabled()) return absl::OkStatus();
  for (const std::string& address : {config.grpc_address, config.http_address}) {
    if (address.empty() || IsLoopback(address)) continue;
    return map.Error("insecure", "is false, but " + address +
                                     " serves other machines in clear text: set security.tls, or "
                                     "insecure: true if something else protects the connections");
  }
  return absl::OkStatus();
}

absl::Status ReadSecurity(YamlMap* map, const std::string& folder, ServerConfig* config) {
  SecurityConfig& security = config->security;
  KVP_RETURN_IF_ERROR(map->ReadBool("insecure", &security.insecure));
  KVP_RETURN_IF_ERROR(map->ReadBool("reflection", &security.reflection));
  KVP_RETURN_IF_ERROR(map->ReadBool("admin", &security.admin));
  KVP_RETURN_IF_ERROR(map->Read("identities", &security.identities));
  security.identities = Resolve(security.identities, folder);
  KVP_ASSIGN_OR_RETURN(YamlMap tls, map->Map("tls"));
  KVP_RETURN_IF_ERROR(ReadTls(&tls, folder, &security.tls));
  KVP_RETURN_IF_ERROR(map->CheckNoOtherKeys());
  return CheckAddresses(*map, *config);
}

}  // namespace

absl::StatusOr<ServerConfig> ParseServerConfig(const std::string& yaml,
                                               const std::string& file_name,
                                               const std::string& folder) {
  ServerConfig config;
  KVP_ASSIGN_OR_RETURN(YamlMap root, YamlMap::Parse(yaml, file_name));
  KVP_ASSIGN_OR_RETURN(YamlMap listen, root.Map("listen"));
  KVP_RETURN_IF_ERROR(ReadListen(&listen, &config));
  KVP_RETURN_IF_ERROR(ReadModels(&root, folder, &config));
  KVP_RETURN_IF_ERROR(ReadServiceClasses(&root, &config));
  KVP_RETURN_IF_ERROR(root.Read("slo", &config.slo_path));
  config.slo_path = Resolve(config.slo_path, folder);
  KVP_ASSIGN_OR_RETURN(YamlMap limits, root.Map("limits"));
  KVP_RETURN_IF_ERROR(ReadLimits(&limits, &config.limits));
  KVP_ASSIGN_OR_RETURN(YamlMap security, root.Map("security"));
  KVP_RETURN_IF_ERROR(ReadSecurity(&security, folder, &config));
  KVP_ASSIGN_OR_RETURN(YamlMap drain, root.Map("drain"));
  KVP_RETURN_IF_ERROR(
      drain.ReadDuration("timeout", std::chrono::milliseconds(0), &config.drain_timeout));
  KVP_RETURN_IF_ERROR(drain.CheckNoOtherKeys());
  KVP_ASSIGN_OR_RETURN(YamlMap log, root.Map("log"));
  KVP_RETURN_IF_ERROR(ReadLog(&log, &config.log));
  KVP_RETURN_IF_ERROR(root.CheckNoOtherKeys());
  return config;
}

absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return MakeError(absl::StatusCode::kNotFound, "CONFIG_NOT_FOUND", "cannot read " + path);
  }
  return ParseServerConfig(text.str(), path, std::filesystem::path(path).parent_path().string());
}

}  // namespace kvpareto::server
