// Where the time of a step goes: prefill and decode of a real model through the engine's
// Transformer, operation by operation, with what each must read and multiply. Compare the rates
// with what the machine can do (docs/performance.md).
//
// usage: step_bench MODEL [--threads N] [--depth N] [--chunk N] [--sequences N] [--steps N]
//                   [--config TEXT]
//
// Prefills `sequences` prompts of `depth` tokens in chunks, then makes `steps` decode steps of all
// of them; prints one table for each of the two.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/check.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/kv/arena.h"
#include "engine/model/model_source.h"
#include "engine/model/transformer.h"
#include "engine/scheduler/sequence_cache.h"
#include "tests/bench/timed_backend.h"

namespace kvpareto {
namespace {

struct StepBenchOptions {
  std::string model;
  std::string config = "k=bf16 v=bf16 sink=16 recent=0";
  int threads = 0;
  int depth = 2048;
  int chunk = 512;
  int sequences = 1;
  int steps = 32;
};

absl::StatusOr<StepBenchOptions> ParseArguments(int argc, char** argv) {
  StepBenchOptions options;
  const std::map<std::string, int*> numbers = {{"--threads", &options.threads},
                                               {"--depth", &options.depth},
                                               {"--chunk", &options.chunk},
                                               {"--sequences", &options.sequences},
                                               {"--steps", &options.steps}};
  if (argc < 2 || argc % 2 != 0) {
    return absl::InvalidArgumentError("usage: step_bench MODEL [--FLAG VALUE]...");
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

class StepBench {
 public:
  static absl::StatusOr<std::unique_ptr<StepBench>> Create(const StepBenchOptions& options) {
    auto bench = std::unique_ptr<StepBench>(new StepBench(options));
    KVP_RETURN_IF_ERROR(bench->Load());
    return bench;
  }

  absl::Status Run() {
    for (auto& cache : caches_) {
      for (int done = 0; done < options_.depth; done += options_.chunk) {
        KVP_RETURN_IF_ERROR(Prefill(*cache, std::min(options_.chunk, options_.depth - done)));
      }
    }
    Print("prefill", options_.depth * options_.sequences, 1);
    KVP_RETURN_IF_ERROR(Decode());  // the first one warms up
    Reset();
    for (int i = 0; i < options_.steps; ++i) KVP_RETURN_IF_ERROR(Decode());
    Print("decode", options_.sequences * options_.steps, options_.steps);
    return absl::OkStatus();
  }

 private:
  explicit StepBench(const StepBenchOptions& options) : options_(options) {}

  absl::Status Load() {
    KVP_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source, OpenModel(options_.model));
    KVP_ASSIGN_OR_RETURN(auto cpu, CreateCpuBackend({.threads = options_.threads}));
    backend_ = std::make_unique<TimedBackend>(std::move(cpu));
    KVP_ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(*source, *backend_));
    KVP_ASSIGN_OR_RETURN(transformer_, Transformer::Create(source->config(), std::move(weights),
                                                           {.max_decode_rows = options_.sequences,
                                                            .max_prefill_rows = options_.chunk},
                                                           backend_.get()));
    KVP_ASSIGN_OR_RETURN(const KvConfig config, KvConfig::Parse(options_.config));
    const auto format = std::make_shared<const CacheFormat>(config, source->config());
    // bf16 of all tokens is more than any config needs.
    const int blocks = (options_.depth + options_.steps) / kv::kBlockTokens + 3;
    const size_t bytes =
        kv::AlignUp(format->bf16.bytes() * blocks * options_.sequences + format->sink.bytes(),
                    kv::kRegionAlignment);
    KVP_ASSIGN_OR_RETURN(memory_, backend_->Allocate(bytes));
    arena_ = std::make_unique<kv::Arena>(memory_->data(), bytes,
                                         [this](std::byte* to, const std::byte* from, size_t size) {
                                           backend_->Move(to, from, size);
                                         });
    KVP_CHECK(arena_->Reserve(bytes));
    for (int i = 0; i < options_.sequences; ++i) {
      caches_.push_back(std::make_unique<SequenceCache>(format, arena_.get()));
    }
    Reset();
    return absl::OkStatus();
  }

  void AddToken(const SequenceCache& cache, int index, StepBatch& batch) const {
    const int position = static_cast<int>(cache.num_tokens()) + index;
    batch.tokens.push_back(
        static_cast<int32_t>((uint64_t{7919} * position + 13) % transformer_->config().vocab));
    batch.positions.push_back(position);
  }

  absl::Status Prefill(SequenceCache& cache, int tokens) {
    StepBatch batch;
    int tile = 0;
    cache.Allocate(tokens);
    batch.sequences.push_back(cache.Describe(0, [&] { return transformer_->ChunkTile(tile++); }));
    for (int i = 0; i < tokens; ++i) AddToken(cache, i, batch);
    KVP_RETURN_IF_ERROR(Forward(batch));
    cache.EndStep();
    return absl::OkStatus();
  }

  absl::Status Decode() {
    StepBatch batch{.decode_rows = options_.sequences};
    for (int s = 0; s < options_.sequences; ++s) {
      caches_[s]->Allocate(1);
      batch.sequences.push_back(caches_[s]->Describe(s, [] { return BlockSpan{}; }));
      AddToken(*caches_[s], 0, batch);
      batch.logit_rows.push_back(s);
    }
    KVP_RETURN_IF_ERROR(Forward(batch));
    for (auto& cache : caches_) cache->EndStep();
    return absl::OkStatus();
  }

  absl::Status Forward(const StepBatch& batch) {
    return transformer_->Forward(batch, [](int, int, std::span<float>) {});
  }

  void Reset() {
    backend_->Reset();
    start_ = std::chrono::steady_clock::now();
  }

  // Times are of one of `steps`; "other" is what passed between operations.
  void Print(const char* phase, int tokens, int steps) const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    std::printf("%s: %.1f tok/s, %.3f ms (%s, %s, depth %d, %d sequences)\n", phase,
                tokens / seconds, seconds / steps * 1e3, std::string(backend_->name()).c_str(),
                options_.config.c_str(), options_.depth, options_.sequences);
    std::printf("  %-22s %7s %9s %6s %8s %9s\n", "operation", "calls", "ms", "share", "GB/s",
                "GFLOP/s");
    double other = seconds;
    for (const auto& [op, totals] : backend_->totals()) {
      other -= totals.seconds;
      std::printf("  %-22s %7d %9.3f %5.1f%%", op.c_str(), totals.calls / steps,
                  totals.seconds / steps * 1e3, totals.seconds / seconds * 100);
      if (totals.bytes > 0) std::printf(" %8.1f", totals.bytes / totals.seconds * 1e-9);
      if (totals.flops > 0) std::printf(" %9.1f", totals.flops / totals.seconds * 1e-9);
      std::printf("\n");
    }
    std::printf("  %-22s %7s %9.3f %5.1f%%\n", "other", "", other / steps * 1e3,
                other / seconds * 100);
    std::fflush(stdout);
  }

  const StepBenchOptions options_;
  std::unique_ptr<TimedBackend> backend_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<DeviceBuffer> memory_;
  std::unique_ptr<kv::Arena> arena_;
  std::vector<std::unique_ptr<SequenceCache>> caches_;
  std::chrono::steady_clock::time_point start_;
};

absl::Status Run(int argc, char** argv) {
  KVP_ASSIGN_OR_RETURN(const StepBenchOptions options, ParseArguments(argc, argv));
  KVP_ASSIGN_OR_RETURN(const auto bench, StepBench::Create(options));
  return bench->Run();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::Run(argc, argv);
  if (!status.ok()) std::cerr << "step_bench: " << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
