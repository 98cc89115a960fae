#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_split.h"

namespace kvpareto::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char kExamplePath[] = KVPARETO_SOURCE_DIR "/deploy/server.example.yaml";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string MessageOf(const std::string& yaml) {
  const auto config = ParseServerConfig(yaml, "s.yaml", "/etc/kvp");
  return config.ok() ? "OK" : std::string(config.status().message());
}

// Every key of a small but complete file with values unlike the defaults.
const char kFull[] = R"(
listen: {grpc: "0.0.0.0:1", http: "0.0.0.0:2", metrics: ""}
models:
  - {name: a, path: a.gguf, table: t.yaml, calibration: c.bin, kv_capacity: 2GiB, threads: 3,
     prefix_cache: 1MiB,
     isa: avx512, self_test: false,
     limits: {max_step_tokens: 128, max_running_sequences: 5, max_queued_requests: 6,
              max_sequences_per_request: 4, max_prompt_tokens: 12, max_answer_tokens: 13,
              default_max_tokens: 9, max_stop_strings: 10, max_stop_string_bytes: 14,
              max_top_logprobs: 11}}
  - {name: org/b, path: /abs/b}
default_model: org/b
service_classes: [batch, default]
limits: {max_request_bytes: 1MiB, max_metadata_bytes: 8KiB, stream_buffer_bytes: 4096,
         request_memory: 5MiB, max_streams_per_connection: 7, max_connection_idle: 4m,
         prepare_threads: 8, max_preparing_requests: 9,
         keepalive_time: 10s, keepalive_timeout: 5s, step_stall: 2m,
         http: {request_timeout: 11s, read_timeout: 12s, idle_timeout: 13s, write_timeout: 14s,
                max_connections: 15}}
security: {insecure: true, tls: {certificate: c.pem, key: /k.pem, client_ca: ca.pem},
           identities: who.yaml, reflection: false, admin: false}
drain: {timeout: 1500ms}
log: {format: json, level: warning}
)";

TEST(Config, ReadsEveryKey) {
  const auto config = ParseServerConfig(kFull, "s.yaml", "/etc/kvp");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->grpc_address, "0.0.0.0:1");
  EXPECT_EQ(config->http_address, "0.0.0.0:2");
  EXPECT_EQ(config->metrics_address, "");
  EXPECT_TRUE(config->security.insecure);
  EXPECT_EQ(config->security.tls.certificate, "/etc/kvp/c.pem");
  EXPECT_EQ(config->security.tls.key, "/k.pem");
  EXPECT_EQ(config->security.tls.client_ca, "/etc/kvp/ca.pem");
  EXPECT_EQ(config->security.identities, "/etc/kvp/who.yaml");
  EXPECT_FALSE(config->security.reflection);
  EXPECT_FALSE(config->security.admin);
  ASSERT_EQ(config->models.size(), 2u);
  const EngineOptions& engine = config->models[0].engine;
  EXPECT_EQ(config->models[0].name, "a");
  EXPECT_EQ(engine.model_path, "/etc/kvp/a.gguf");
  EXPECT_EQ(engine.table_path, "/etc/kvp/t.yaml");
  EXPECT_EQ(engine.calibration_path, "/etc/kvp/c.bin");
  EXPECT_EQ(engine.kv_capacity_bytes, uint64_t{2} << 30);
  EXPECT_EQ(engine.prefix_cache_bytes, uint64_t{1} << 20);
  EXPECT_EQ(engine.threads, 3);
  EXPECT_EQ(engine.isa, "avx512");
  EXPECT_FALSE(engine.self_test);
  EXPECT_EQ(engine.max_step_tokens, 128);
  EXPECT_EQ(engine.max_running_sequences, 5);
  EXPECT_EQ(engine.max_queued_requests, 6);
  EXPECT_EQ(engine.max_sequences_per_request, 4);
  EXPECT_EQ(engine.max_prompt_tokens, 12);
  EXPECT_EQ(engine.max_answer_tokens, 13);
  EXPECT_EQ(engine.default_max_tokens, 9);
  EXPECT_EQ(engine.max_stop_strings, 10);
  EXPECT_EQ(engine.max_stop_string_bytes, 14);
  EXPECT_EQ(engine.max_top_logprobs, 11);
  EXPECT_EQ(config->models[1].engine.model_path, "/abs/b");
  EXPECT_EQ(config->models[1].engine.table_path, "");
  EXPECT_EQ(config->default_model, "org/b");
  EXPECT_THAT(config->service_classes, ElementsAre("batch", "default"));
  const Limits& limits = config->limits;
  EXPECT_EQ(limits.max_request_bytes, uint64_t{1} << 20);
  EXPECT_EQ(limits.max_metadata_bytes, 8192u);
  EXPECT_EQ(limits.stream_buffer_bytes, 4096u);
  EXPECT_EQ(limits.request_memory_bytes, uint64_t{5} << 20);
  EXPECT_EQ(limits.max_streams_per_connection, 7);
  EXPECT_EQ(limits.max_connection_idle, std::chrono::minutes(4));
  EXPECT_EQ(limits.prepare_threads, 8);
  EXPECT_EQ(limits.max_preparing_requests, 9);
  EXPECT_EQ(limits.keepalive_time, std::chrono::seconds(10));
  EXPECT_EQ(limits.keepalive_timeout, std::chrono::seconds(5));
  EXPECT_EQ(limits.step_stall, std::chrono::minutes(2));
  EXPECT_EQ(limits.http.request_timeout, std::chrono::seconds(11));
  EXPECT_EQ(limits.http.connections.read_timeout, std::chrono::seconds(12));
  EXPECT_EQ(limits.http.connections.idle_timeout, std::chrono::seconds(13));
  EXPECT_EQ(limits.http.connections.write_timeout, std::chrono::seconds(14));
  EXPECT_EQ(limits.http.connections.max_connections, 15);
  EXPECT_EQ(config->drain_timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(config->log.format, LogFormat::kJson);
  EXPECT_EQ(config->log.level, LogLevel::kWarning);
}

// The example says "every key with its default": compare with a file that says nothing.
TEST(Config, ExampleShowsTheDefaults) {
  const auto example = LoadServerConfig(kExamplePath);
  ASSERT_TRUE(example.ok()) << example.status();
  const auto plain = ParseServerConfig("models: [{name: smollm2, path: x}]", "s.yaml", "");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(example->grpc_address, plain->grpc_address);
  EXPECT_EQ(example->http_address, plain->http_address);
  EXPECT_EQ(example->metrics_address, plain->metrics_address);
  EXPECT_EQ(example->security.insecure, plain->security.insecure);
  EXPECT_EQ(example->security.tls.certificate, plain->security.tls.certificate);
  EXPECT_EQ(example->security.tls.key, plain->security.tls.key);
  EXPECT_EQ(example->security.tls.client_ca, plain->security.tls.client_ca);
  EXPECT_EQ(example->security.identities, plain->security.identities);
  EXPECT_EQ(example->security.reflection, plain->security.reflection);
  EXPECT_EQ(example->security.admin, plain->security.admin);
  EXPECT_EQ(example->default_model, plain->default_model);
  EXPECT_EQ(example->service_classes, plain->service_classes);
  EXPECT_EQ(example->drain_timeout, plain->drain_timeout);
  EXPECT_EQ(example->log.format, plain->log.format);
  EXPECT_EQ(example->log.level, plain->log.level);
  const EngineOptions& shown = example->models[0].engine;
  const EngineOptions defaults;
  EXPECT_EQ(shown.calibration_path, defaults.calibration_path);
  EXPECT_EQ(shown.kv_capacity_bytes, defaults.kv_capacity_bytes);
  EXPECT_EQ(shown.prefix_cache_bytes, plain->models[0].engine.prefix_cache_bytes);
  EXPECT_EQ(shown.prefix_cache_bytes, defaults.kv_capacity_bytes);
  EXPECT_EQ(shown.threads, defaults.threads);
  EXPECT_EQ(shown.isa, defaults.isa);
  EXPECT_EQ(shown.self_test, plain->models[0].engine.self_test);
  EXPECT_EQ(shown.max_step_tokens, defaults.max_step_tokens);
  EXPECT_EQ(shown.max_running_sequences, defaults.max_running_sequences);
  EXPECT_EQ(shown.max_queued_requests, defaults.max_queued_requests);
  EXPECT_EQ(shown.max_sequences_per_request, defaults.max_sequences_per_request);
  EXPECT_EQ(shown.max_prompt_tokens, defaults.max_prompt_tokens);
  EXPECT_EQ(shown.max_answer_tokens, defaults.max_answer_tokens);
  EXPECT_EQ(shown.default_max_tokens, defaults.default_max_tokens);
  EXPECT_EQ(shown.max_stop_strings, defaults.max_stop_strings);
  EXPECT_EQ(shown.max_stop_string_bytes, defaults.max_stop_string_bytes);
  EXPECT_EQ(shown.max_top_logprobs, defaults.max_top_logprobs);
  const Limits& limits = example->limits;
  EXPECT_EQ(limits.max_request_bytes, plain->limits.max_request_bytes);
  EXPECT_EQ(limits.max_metadata_bytes, plain->limits.max_metadata_bytes);
  EXPECT_EQ(limits.stream_buffer_bytes, plain->limits.stream_buffer_bytes);
  EXPECT_EQ(limits.request_memory_bytes, plain->limits.request_memory_bytes);
  EXPECT_EQ(limits.max_streams_per_connection, plain->limits.max_streams_per_connection);
  EXPECT_EQ(limits.max_connection_idle, plain->limits.max_connection_idle);
  EXPECT_EQ(limits.prepare_threads, plain->limits.prepare_threads);
  EXPECT_EQ(limits.max_preparing_requests, plain->limits.max_preparing_requests);
  EXPECT_EQ(limits.keepalive_time, plain->limits.keepalive_time);
  EXPECT_EQ(limits.keepalive_timeout, plain->limits.keepalive_timeout);
  EXPECT_EQ(limits.step_stall, plain->limits.step_stall);
  EXPECT_EQ(limits.http.request_timeout, plain->limits.http.request_timeout);
  const http::Limits& connections = limits.http.connections;
  EXPECT_EQ(connections.read_timeout, plain->limits.http.connections.read_timeout);
  EXPECT_EQ(connections.idle_timeout, plain->limits.http.connections.idle_timeout);
  EXPECT_EQ(connections.write_timeout, plain->limits.http.connections.write_timeout);
  EXPECT_EQ(connections.max_connections, plain->limits.http.connections.max_connections);
}

// The error about an unknown key lists the known ones: the example must have each of them.
TEST(Config, ExampleHasEveryKey) {
  const std::string example = ReadFile(kExamplePath);
  const std::string model = "models: [{name: a, path: b}]\n";
  int keys = 0;
  for (const std::string& yaml :
       {model + "zzz: 1", model + "listen: {zzz: 1}", model + "limits: {zzz: 1}",
        model + "limits: {http: {zzz: 1}}", model + "security: {zzz: 1}",
        model + "security: {tls: {zzz: 1}}", model + "drain: {zzz: 1}", model + "log: {zzz: 1}",
        std::string("models: [{name: a, path: b, zzz: 1}]"),
        std::string("models: [{name: a, path: b, limits: {zzz: 1}}]")}) {
    const std::string message = MessageOf(yaml);
    const size_t at = message.find("known here: ");
    ASSERT_NE(at, std::string::npos) << message;
    for (const auto& key : absl::StrSplit(message.substr(at + 12), ", ")) {
      const std::string name(key);
      if (name == "zzz") continue;
      EXPECT_THAT(example, HasSubstr(name + ":")) << "deploy/server.example.yaml lacks " << name;
      ++keys;
    }
  }
  EXPECT_GE(keys, 30);
}

TEST(Config, QuickstartFileIsValid) {
  const auto config = LoadServerConfig(KVPARETO_SOURCE_DIR "/deploy/quickstart.yaml");
  EXPECT_TRUE(config.ok()) << config.status();
}

TEST(Config, ErrorsNameFileLineAndKey) {
  const std::string model = "models:\n  - name: a\n    path: b\n";
  EXPECT_THAT(MessageOf(model + "limits:\n  prepare_treads: 3\n"),
              HasSubstr("s.yaml:5: limits.prepare_treads: unknown key; known here: "));
  EXPECT_THAT(MessageOf(model + "    kv_capacity: 12 parsecs\n"),
              HasSubstr("s.yaml:4: models[0].kv_capacity: \"12 parsecs\" is no byte size"));
  EXPECT_THAT(MessageOf(model + "    kv_capacity: 1KiB\n"), HasSubstr("s.yaml:4: "));
  EXPECT_THAT(MessageOf(model + "    threads: many\n"), HasSubstr("s.yaml:4: models[0].threads: "));
  EXPECT_THAT(MessageOf(model + "    threads: [1]\n"), HasSubstr("must be a single value"));
  EXPECT_THAT(MessageOf(model + "drain:\n  timeout: 30\n"),
              HasSubstr("s.yaml:5: drain.timeout: \"30\" is no duration"));
  EXPECT_THAT(MessageOf(model + "drain: soon\n"), HasSubstr("s.yaml:4: drain: must be a mapping"));
  EXPECT_THAT(MessageOf(model + "log: {format: xml}\n"), HasSubstr("must be text or json"));
  EXPECT_THAT(MessageOf(model + "log: {level: loud}\n"), HasSubstr("must be debug, info, warning"));
  EXPECT_THAT(MessageOf(model + "log: {format: text}\nlog: {format: json}\n"),
              HasSubstr("s.yaml:5: log: is there twice"));
  EXPECT_THAT(MessageOf(model + "default_model: c\n"), HasSubstr("s.yaml:4: default_model: "));
  EXPECT_THAT(MessageOf(model + "service_classes: gold\n"), HasSubstr("must be a list"));
  EXPECT_THAT(MessageOf(model + "service_classes: ['a b']\n"), HasSubstr("service_classes: "));
  EXPECT_THAT(MessageOf("models: [{path: b}]"), HasSubstr("models[0].name: "));
  EXPECT_THAT(MessageOf("models: [{name: a}]"), HasSubstr("models[0].path: is missing"));
  EXPECT_THAT(MessageOf(model + "  - name: a\n    path: c\n"),
              HasSubstr("s.yaml:4: models[1].name: is used twice"));
  EXPECT_THAT(MessageOf("models: []"), HasSubstr("at least one model"));
  EXPECT_THAT(MessageOf(""), HasSubstr("at least one model"));
  EXPECT_THAT(MessageOf("- a\n- b\n"), HasSubstr("must be a mapping"));
  EXPECT_THAT(MessageOf("models: [{name: a\n"), HasSubstr("s.yaml:"));
}

TEST(Config, MissingFileIsAnError) {
  const auto config = LoadServerConfig("/nonexistent/server.yaml");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace kvpareto::server
