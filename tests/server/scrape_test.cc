// The metrics port while requests run.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <sstream>

#include "tests/server/real_server.h"

namespace kvpareto::server {
namespace {

using ::testing::HasSubstr;

std::string HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  std::string response;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request =
        "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) response.append(buffer, n);
  }
  close(fd);
  return response;
}

struct Scrape {
  uint64_t allocated_sum = 0;
  uint64_t arena = 0;
  int configs = 0;  // with allocated bytes
};

Scrape Parse(const std::string& text) {
  Scrape scrape;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const uint64_t value =
        line.starts_with("kvpareto_kv_a") ? std::stoull(line.substr(line.rfind(' ') + 1)) : 0;
    if (line.starts_with("kvpareto_kv_arena_allocated_bytes{")) scrape.arena = value;
    if (!line.starts_with("kvpareto_kv_allocated_bytes{")) continue;
    scrape.allocated_sum += value;
    scrape.configs += value > 0 ? 1 : 0;
  }
  return scrape;
}

class ScrapeTest : public RealServerTest {
 protected:
  void SetUp() override {
    ServerConfig config = LoopbackConfig();
    config.metrics_address = "127.0.0.1:0";
    Start(config);
  }
};

TEST_F(ScrapeTest, EveryScrapeAddsUpWhileConfigsMix) {
  const int port = server_->server().metrics_port();
  ASSERT_GT(port, 0);
  std::vector<std::future<Generated>> calls;
  for (int i = 0; i < 8; ++i) {
    v1::GenerateRequest request = TokensRequest(150 + 40 * i, 300, i);
    request.mutable_kv()->set_pinned_config(i % 2 == 0 ? "int8" : i % 4 == 1 ? "bf16" : "int4");
    calls.push_back(
        std::async(std::launch::async, [this, request] { return Generate(*server_, request); }));
  }
  int most_configs = 0;
  int scrapes = 0;
  const auto running = [&] {
    return std::any_of(calls.begin(), calls.end(), [](const auto& call) {
      return call.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    });
  };
  do {
    const std::string response = HttpGet(port, "/metrics");
    ASSERT_THAT(response, HasSubstr("200 OK"));
    const Scrape scrape = Parse(response);
    EXPECT_EQ(scrape.allocated_sum, scrape.arena);
    most_configs = std::max(most_configs, scrape.configs);
    ++scrapes;
  } while (running());
  for (auto& call : calls) EXPECT_EQ(Verdict(call.get().status), "OK");
  EXPECT_EQ(most_configs, 3);
  EXPECT_GT(scrapes, 3);

  // Idle again: the memory service and the metrics say the same.
  ASSERT_TRUE(MemoryIsFreed());
  const std::string response = HttpGet(port, "/metrics");
  const v1::ModelMemory memory = Memory();
  EXPECT_EQ(Parse(response).arena, 0u);
  for (const auto& [name, value] :
       {std::pair<std::string, uint64_t>{"kv_capacity_bytes", memory.capacity_bytes()},
        {"weights_bytes", memory.weights_bytes()},
        {"workspace_bytes", memory.workspace_bytes()}}) {
    EXPECT_GT(value, 0u);
    EXPECT_THAT(response, HasSubstr("\nkvpareto_" + name + "{model=\"tiny\"} " +
                                    std::to_string(value) + "\n"));
  }
  EXPECT_THAT(response,
              HasSubstr(R"(kvpareto_requests_total{model="tiny",class="default",code="OK"} 8)"));
  EXPECT_THAT(
      response,
      HasSubstr(
          R"(kvpareto_plans_total{model="tiny",class="default",config="int8",reason="pinned"} 4)"));
}

}  // namespace
}  // namespace kvpareto::server
