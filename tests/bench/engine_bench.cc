// engine_bench MODEL --threads N --prefill N --decode N --config TEXT: times one request alone on
// the engine, through Submit, as a server would. A measurement is made for every line on standard
// input and printed as a line of JSON, so that a script can interleave it with another engine's.
//
// The prompt of `prefill` tokens gives prefill speed; the `decode` tokens behind it give decode
// speed at that depth.
#include <cstdio>
#include <cstdlib>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace kvpareto {
namespace {

struct BenchOptions {
  std::string model;
  int threads = 0;
  int prefill = 2048;
  int decode = 32;
  std::string config = "k=bf16 v=bf16 sink=16 recent=0 chunk=512";
};

class WaitingSink final : public ResponseSink {
 public:
  void OnDelta(Delta /*delta*/) override {}
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    done_.set_value({status, usage});
  }
  std::pair<absl::Status, Usage> Wait() { return done_.get_future().get(); }

 private:
  std::promise<std::pair<absl::Status, Usage>> done_;
};

absl::StatusOr<BenchOptions> ParseArguments(int argc, char** argv) {
  BenchOptions options;
  const std::map<std::string, int*> numbers = {{"--threads", &options.threads},
                                               {"--prefill", &options.prefill},
                                               {"--decode", &options.decode}};
  if (argc < 2 || argc % 2 != 0) {
    return absl::InvalidArgumentError(
        "usage: engine_bench MODEL [--threads N] [--prefill N] [--decode N] [--config TEXT]");
  }
  options.model = argv[1];
  for (int i = 2; i < argc; i += 2) {
    const auto number = numbers.find(argv[i]);
    if (number != numbers.end()) {
      *number->second = std::atoi(argv[i + 1]);
    } else if (std::string(argv[i]) == "--config") {
      options.config = argv[i + 1];
    } else {
      return absl::InvalidArgumentError(std::string("unknown flag ") + argv[i]);
    }
  }
  return options;
}

absl::Status MeasureOnce(Engine& engine, const BenchOptions& options) {
  Request request;
  std::vector<int32_t> tokens(options.prefill);
  for (int i = 0; i < options.prefill; ++i) {
    tokens[i] = static_cast<int32_t>((uint64_t{7919} * i + 13) % engine.model().config.vocab);
  }
  request.prompt = std::move(tokens);
  request.stopping.max_tokens = options.decode + 1;  // the first one comes from prefill
  request.stopping.ignore_eos = true;
  request.kv.pinned_config = options.config;
  KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine.Prepare(std::move(request)));
  auto sink = std::make_shared<WaitingSink>();
  KVP_RETURN_IF_ERROR(engine.Submit(std::move(prepared), sink).status());
  const auto [status, usage] = sink->Wait();
  KVP_RETURN_IF_ERROR(status);
  std::printf("{\"prefill_tokens_per_second\": %.2f, \"decode_tokens_per_second\": %.2f}\n",
              options.prefill / usage.timings.prefill_seconds,
              options.decode / usage.timings.decode_seconds);
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(int argc, char** argv) {
  KVP_ASSIGN_OR_RETURN(const BenchOptions options, ParseArguments(argc, argv));
  EngineOptions engine_options;
  engine_options.model_path = options.model;
  engine_options.threads = options.threads;
  engine_options.max_step_tokens = 4096;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  std::printf("{\"backend\": \"%s\"}\n", engine->model().backend.c_str());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    KVP_RETURN_IF_ERROR(MeasureOnce(*engine, options));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::Run(argc, argv);
  if (!status.ok()) std::cerr << "engine_bench: " << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
