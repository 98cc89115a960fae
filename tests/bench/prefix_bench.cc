// prefix_bench MODEL SHARED_TOKENS REQUESTS CONFIG: how soon requests have their first token that
// share the beginning of their prompt, one after the other, and what they hold when they run
// together. Prints one line of JSON; fails when an answer is not the one without the cache.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"

namespace kvpareto {
namespace {

constexpr int kOwnTokens = 32;  // of each prompt, behind the shared ones
constexpr int kAnswerTokens = 16;

class Sink final : public ResponseSink {
 public:
  void OnDelta(Delta delta) override {
    for (const SampledToken& token : delta.tokens) tokens_.push_back(token.token);
  }
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
    usage_ = usage;
    finished_ = true;
    changed_.notify_all();
  }
  bool finished() {
    const std::lock_guard lock(mutex_);
    return finished_;
  }
  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return finished_; });
    return status_;
  }
  const Usage& usage() const { return usage_; }                   // after Wait
  const std::vector<int32_t>& tokens() const { return tokens_; }  // after Wait

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false;
  absl::Status status_;
  Usage usage_;
  std::vector<int32_t> tokens_;
};

struct Bench {
  Engine* engine;
  int shared_tokens;
  std::string config;

  Request Make(int index) const {
    std::vector<int32_t> prompt(shared_tokens + kOwnTokens);
    const int vocab = engine->model().config.vocab;
    for (int i = 0; i < static_cast<int>(prompt.size()); ++i) {
      const int salt = i < shared_tokens ? 0 : index + 1;
      prompt[i] = (i * 7919 + salt * 104729) % (vocab / 2);
    }
    Request request;
    request.prompt = std::move(prompt);
    request.stopping = {.max_tokens = kAnswerTokens, .ignore_eos = true};
    request.kv.pinned_config = config;
    return request;
  }

  absl::StatusOr<std::shared_ptr<Sink>> Submit(Request request) const {
    auto sink = std::make_shared<Sink>();
    KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine->Prepare(std::move(request)));
    KVP_RETURN_IF_ERROR(engine->Submit(std::move(prepared), sink).status());
    return sink;
  }

  absl::StatusOr<std::shared_ptr<Sink>> Run(Request request) const {
    KVP_ASSIGN_OR_RETURN(std::shared_ptr<Sink> sink, Submit(std::move(request)));
    KVP_RETURN_IF_ERROR(sink->Wait());
    return sink;
  }

  // Seconds to the first token of each, one after the other.
  absl::StatusOr<std::vector<double>> InTurn(int requests) const {
    std::vector<double> seconds;
    for (int i = 0; i < requests; ++i) {
      KVP_ASSIGN_OR_RETURN(const std::shared_ptr<Sink> sink, Run(Make(i)));
      seconds.push_back(sink->usage().timings.time_to_first_token_seconds);
    }
    return seconds;
  }

  absl::Status CheckAnswer(int index) const {
    Request alone = Make(index);
    alone.use_prefix_cache = false;
    KVP_ASSIGN_OR_RETURN(const std::shared_ptr<Sink> expected, Run(std::move(alone)));
    KVP_ASSIGN_OR_RETURN(const std::shared_ptr<Sink> sink, Run(Make(index)));
    if (sink->usage().cached_prompt_tokens == 0) return absl::InternalError("no hit");
    if (sink->tokens() != expected->tokens()) return absl::InternalError("another answer");
    return absl::OkStatus();
  }

  // Most bytes that all of them held at once, cached ones left out.
  absl::StatusOr<uint64_t> Together(int requests) const {
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < requests; ++i) {
      Request request = Make(1000 + i);
      request.stopping.max_tokens = 4 * kAnswerTokens;
      KVP_ASSIGN_OR_RETURN(std::shared_ptr<Sink> sink, Submit(std::move(request)));
      sinks.push_back(std::move(sink));
    }
    uint64_t most = 0;
    while (!std::all_of(sinks.begin(), sinks.end(), [](const auto& s) { return s->finished(); })) {
      const EngineStats stats = engine->Stats();
      uint64_t held = 0;
      for (const auto& [key, bytes] : stats.kv) held += bytes.allocated_bytes;
      most = std::max(most, held);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (const auto& sink : sinks) KVP_RETURN_IF_ERROR(sink->Wait());
    return most;
  }
};

absl::Status Main(int argc, char** argv) {
  if (argc != 5) {
    return absl::InvalidArgumentError("usage: prefix_bench MODEL SHARED_TOKENS REQUESTS CONFIG");
  }
  EngineOptions options;
  options.model_path = argv[1];
  options.kv_capacity_bytes = uint64_t{4} << 30;
  options.prefix_cache_bytes = options.kv_capacity_bytes;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  const Bench bench{engine.get(), std::atoi(argv[2]), argv[4]};
  const int requests = std::atoi(argv[3]);
  if (bench.shared_tokens < 1 || requests < 3) {
    return absl::InvalidArgumentError("at least one shared token and three requests");
  }
  KVP_ASSIGN_OR_RETURN(const Engine::Prepared one, engine->Prepare(bench.Make(0)));
  KVP_ASSIGN_OR_RETURN(std::vector<double> seconds, bench.InTurn(requests));
  KVP_RETURN_IF_ERROR(bench.CheckAnswer(1));
  KVP_ASSIGN_OR_RETURN(const uint64_t held, bench.Together(requests));
  const double first = seconds.front();
  std::sort(seconds.begin() + 1, seconds.end());
  std::cout << absl::StrCat("{\"first_seconds\": ", first,
                            ", \"median_seconds\": ", seconds[1 + (requests - 1) / 2],
                            ", \"worst_seconds\": ", seconds.back(),
                            ", \"worst_speedup\": ", first / seconds.back(),
                            ", \"one_request_bytes\": ", one.plan.kv_peak_bytes,
                            ", \"held_together_bytes\": ", held, "}")
            << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::Main(argc, argv);
  if (status.ok()) return 0;
  std::cerr << status << std::endl;
  return 1;
}
