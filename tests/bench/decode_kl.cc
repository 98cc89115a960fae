// What the arithmetic of decode attention adds to what a cache's codec does: a text is decoded
// token by token with each config, on f32 arithmetic (AVX2) and on this machine's, and the
// distributions of the next token are compared.
//
// usage: decode_kl MODEL TEXT [--depth N] [--tokens N] [--threads N] [--config TEXT]...
//
// Prefills `depth` tokens of TEXT, then decodes `tokens` further ones. Prints for each config the
// mean Kullback-Leibler divergence per token, in nats, from bf16's distributions on AVX2: of the
// config on AVX2, and on this machine's instruction set; and the divergence between these two.
// Prefill is the machine's in both, so that the caches are the same.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
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
#include "engine/text/tokenizer.h"

namespace kvpareto {
namespace {

struct Options {
  std::string model, text;
  int depth = 1000;
  int tokens = 200;
  int threads = 0;
  std::vector<std::string> configs;
};

absl::StatusOr<Options> ParseArguments(int argc, char** argv) {
  Options options;
  const std::map<std::string, int*> numbers = {
      {"--depth", &options.depth}, {"--tokens", &options.tokens}, {"--threads", &options.threads}};
  if (argc < 3 || argc % 2 == 0) {
    return absl::InvalidArgumentError("usage: decode_kl MODEL TEXT [--FLAG VALUE]...");
  }
  options.model = argv[1];
  options.text = argv[2];
  for (int i = 3; i < argc; i += 2) {
    const auto number = numbers.find(argv[i]);
    if (number != numbers.end()) {
      *number->second = std::atoi(argv[i + 1]);
    } else if (std::string(argv[i]) == "--config") {
      options.configs.push_back(argv[i + 1]);
    } else {
      return absl::InvalidArgumentError(std::string("unknown flag ") + argv[i]);
    }
  }
  if (options.configs.empty()) options.configs = {"k=int4-channel v=int4-token sink=16 recent=0"};
  return options;
}

constexpr int kChunk = 512;

// A model on one instruction set.
struct Runner {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> transformer;

  static absl::StatusOr<Runner> Create(const ModelSource& source, const Options& options,
                                       std::string_view isa) {
    Runner runner;
    KVP_ASSIGN_OR_RETURN(runner.backend,
                         CreateCpuBackend({.threads = options.threads, .isa = isa}));
    KVP_ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(source, *runner.backend));
    KVP_ASSIGN_OR_RETURN(runner.transformer,
                         Transformer::Create(source.config(), std::move(weights),
                                             {.max_decode_rows = 1, .max_prefill_rows = kChunk},
                                             runner.backend.get()));
    return runner;
  }
};

using LogProbabilities = std::vector<float>;

LogProbabilities LogSoftmax(std::span<const float> logits) {
  double largest = -INFINITY, sum = 0.0;
  for (float x : logits) largest = std::max(largest, double{x});
  for (float x : logits) sum += std::exp(x - largest);
  LogProbabilities result;
  for (float x : logits) result.push_back(static_cast<float>(x - largest - std::log(sum)));
  return result;
}

double Divergence(const LogProbabilities& p, const LogProbabilities& q) {
  double sum = 0.0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(double{p[i]}) * (double{p[i]} - q[i]);
  return sum;
}

// A text in a cache of one config.
class Run {
 public:
  Run(const std::shared_ptr<const CacheFormat>& format, std::span<const int32_t> tokens,
      Backend& backend)
      : tokens_(tokens) {
    const int blocks = static_cast<int>(tokens.size()) / kv::kBlockTokens + 3;
    const size_t bytes =
        kv::AlignUp(format->bf16.bytes() * blocks + format->sink.bytes(), kv::kRegionAlignment);
    auto memory = backend.Allocate(bytes);
    KVP_CHECK(memory.ok());
    memory_ = *std::move(memory);
    arena_ = std::make_unique<kv::Arena>(
        memory_->data(), bytes,
        [&](std::byte* to, const std::byte* from, size_t size) { backend.Move(to, from, size); });
    KVP_CHECK(arena_->Reserve(bytes));
    cache_ = std::make_unique<SequenceCache>(format, arena_.get());
  }

  absl::Status Prefill(Transformer& transformer, int depth) {
    while (cache_->num_tokens() < depth) {
      const int count = std::min<int>(kChunk, depth - static_cast<int>(cache_->num_tokens()));
      KVP_RETURN_IF_ERROR(Step(transformer, count, {}, nullptr));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<LogProbabilities> Decode(Transformer& transformer) {
    LogProbabilities result;
    KVP_RETURN_IF_ERROR(
        Step(transformer, 1, {.decode_rows = 1, .logit_rows = {0}},
             [&](int, int, std::span<float> logits) { result = LogSoftmax(logits); }));
    return result;
  }

 private:
  absl::Status Step(Transformer& transformer, int count, StepBatch batch,
                    const Transformer::LogitsFn& on_logits) {
    int tile = 0;
    const int position = static_cast<int>(cache_->num_tokens());
    cache_->Allocate(count);
    batch.sequences.push_back(cache_->Describe(0, [&] { return transformer.ChunkTile(tile++); }));
    for (int i = 0; i < count; ++i) {
      batch.tokens.push_back(tokens_[position + i]);
      batch.positions.push_back(position + i);
    }
    KVP_RETURN_IF_ERROR(transformer.Forward(
        batch, on_logits ? on_logits : [](int, int, std::span<float>) {}));
    cache_->EndStep();
    return absl::OkStatus();
  }

  std::span<const int32_t> tokens_;
  std::unique_ptr<DeviceBuffer> memory_;
  std::unique_ptr<kv::Arena> arena_;
  std::unique_ptr<SequenceCache> cache_;
};

class DecodeKl {
 public:
  explicit DecodeKl(Options options) : options_(std::move(options)) {}

  absl::Status Measure() {
    KVP_ASSIGN_OR_RETURN(source_, OpenModel(options_.model));
    KVP_RETURN_IF_ERROR(ReadTokens());
    KVP_ASSIGN_OR_RETURN(reference_, Runner::Create(*source_, options_, "avx2"));
    KVP_ASSIGN_OR_RETURN(machine_, Runner::Create(*source_, options_, "auto"));
    KVP_ASSIGN_OR_RETURN(const auto want, Decode("k=bf16 v=bf16 sink=16 recent=0", reference_));
    std::printf("%d tokens at depth %d; nats per token\n", options_.tokens, options_.depth);
    std::printf("%-50s %12s %12s %12s\n", "config", "f32",
                std::string(machine_.backend->name()).c_str(), "between");
    for (const std::string& config : options_.configs) {
      KVP_ASSIGN_OR_RETURN(const auto exact, Decode(config, reference_));
      KVP_ASSIGN_OR_RETURN(const auto fast, Decode(config, machine_));
      std::printf("%-50s %12.3e %12.3e %12.3e\n", config.c_str(), Mean(want, exact),
                  Mean(want, fast), Mean(exact, fast));
      std::fflush(stdout);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadTokens() {
    std::ifstream file(options_.text);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    KVP_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Create(source_->tokenizer()));
    KVP_ASSIGN_OR_RETURN(tokens_, tokenizer->Encode(text, {.add_bos = tokenizer->adds_bos()}));
    const size_t needed = static_cast<size_t>(options_.depth) + options_.tokens;
    if (tokens_.size() < needed) return absl::InvalidArgumentError("the text is too short");
    tokens_.resize(needed);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<LogProbabilities>> Decode(const std::string& config,
                                                       const Runner& runner) {
    KVP_ASSIGN_OR_RETURN(const KvConfig parsed, KvConfig::Parse(config));
    const auto format = std::make_shared<const CacheFormat>(parsed, source_->config());
    Run run(format, tokens_, *runner.backend);
    KVP_RETURN_IF_ERROR(run.Prefill(*machine_.transformer, options_.depth));
    std::vector<LogProbabilities> result;
    for (int i = 0; i < options_.tokens; ++i) {
      KVP_ASSIGN_OR_RETURN(LogProbabilities row, run.Decode(*runner.transformer));
      result.push_back(std::move(row));
    }
    return result;
  }

  static double Mean(const std::vector<LogProbabilities>& p,
                     const std::vector<LogProbabilities>& q) {
    double sum = 0.0;
    for (size_t i = 0; i < p.size(); ++i) sum += Divergence(p[i], q[i]);
    return sum / static_cast<double>(p.size());
  }

  const Options options_;
  std::unique_ptr<ModelSource> source_;
  std::vector<int32_t> tokens_;
  Runner reference_, machine_;
};

absl::Status RunTool(int argc, char** argv) {
  KVP_ASSIGN_OR_RETURN(Options options, ParseArguments(argc, argv));
  return DecodeKl(std::move(options)).Measure();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::RunTool(argc, argv);
  if (!status.ok()) std::cerr << "decode_kl: " << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
