// A server with a real engine on a tiny random model and a table of three configs.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/engine.h"
#include "server/memory_snapshot.h"
#include "tests/server/test_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::server {

class RealServerTest : public ::testing::Test {
 protected:
  static constexpr int kContext = 2048;

  void SetUp() override { Start(LoopbackConfig()); }

  void Start(const ServerConfig& config) {
    server_.reset();
    EngineOptions options;
    options.model_path = dir_.File("model.gguf");
    options.kv_capacity_bytes = uint64_t{32} << 20;
    options.threads = 2;
    support::WriteGguf(support::MakeTinyModel({.layers = 2,
                                               .hidden = 128,
                                               .heads = 4,
                                               .kv_heads = 2,
                                               .head_dim = 64,
                                               .ffn = 128,
                                               .context_tokens = kContext,
                                               .seed = 3}),
                       options.model_path);
    {
      const auto untabled = Engine::Create(options);
      ASSERT_TRUE(untabled.ok()) << untabled.status();
      options.table_path = dir_.File("table.yaml");
      support::WriteBytes(options.table_path, FormatParetoTable(Table((*untabled)->model())));
    }
    auto engine = Engine::Create(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = engine->get();
    Models::Map engines;
    engines.emplace("tiny", *std::move(engine));
    server_ = std::make_unique<TestServer>(std::move(engines), config);
  }

  // Made-up accuracies: enough for the choice to have something to choose from.
  static ParetoTable Table(const ModelInfo& model) {
    ParetoTable table;
    table.model_name = model.config.name;
    table.model_fingerprint = model.fingerprint;
    table.provenance = {"test", "2026-01-01", "test", "none", "0"};
    const auto add = [&](const std::string& name, const std::string& config, double accuracy) {
      ParetoRow row;
      row.name = name;
      row.config = *KvConfig::Parse(config);
      row.bytes_per_token = 1;
      row.accuracy.push_back(
          {.max_context_tokens = kContext, .accuracy = accuracy, .accuracy_low = accuracy});
      table.rows.push_back(std::move(row));
    };
    add("bf16", "k=bf16 v=bf16 sink=0 recent=0 chunk=256", 1.0);
    add("int8", "k=int8-token v=int8-token sink=16 recent=0 chunk=256", 0.99);
    add("int4", "k=int4-channel v=int4-token-g32 sink=16 recent=0 chunk=256", 0.9);
    return table;
  }

  // A prompt of `tokens` tokens that depends on `seed`.
  static v1::GenerateRequest TokensRequest(int tokens, int max_tokens, int seed = 0) {
    v1::GenerateRequest request;
    uint32_t state = 12345u + seed;
    for (int i = 0; i < tokens; ++i) {
      state = state * 1664525u + 1013904223u;
      request.mutable_prompt()->mutable_token_ids()->add_ids(
          support::kFirstByte + static_cast<int32_t>((state >> 16) % 256));
    }
    request.mutable_stopping()->set_max_tokens(max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    request.mutable_response()->set_token_ids(true);
    return request;
  }
  static std::vector<int32_t> TokensOf(const Generated& generated, int sequence = 0) {
    std::vector<int32_t> tokens;
    for (const auto& response : generated.responses) {
      if (!response.has_delta() || response.delta().sequence() != sequence) continue;
      for (const auto& token : response.delta().tokens()) tokens.push_back(token.id());
    }
    return tokens;
  }
  v1::ModelMemory Memory() {
    grpc::ClientContext context;
    v1::GetMemoryResponse response;
    const grpc::Status status = server_->memory()->GetMemory(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.memory().models(0);
  }
  // Whether the arena is empty within a second (a step of the tiny model takes milliseconds).
  bool MemoryIsFreed() {
    for (int i = 0; i < 100; ++i) {
      if (Memory().allocated_bytes() == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  void ServesTheNextRequest() {
    const Generated generated = Generate(*server_, TokensRequest(70, 5));
    EXPECT_EQ(Verdict(generated.status), "OK");
    EXPECT_EQ(TokensOf(generated).size(), 5u);
    EXPECT_TRUE(MemoryIsFreed());
  }

  support::TempDir dir_;
  Engine* engine_ = nullptr;
  std::unique_ptr<TestServer> server_;
};

}  // namespace kvpareto::server
