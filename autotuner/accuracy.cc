#include "autotuner/accuracy.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>

#include "autotuner/fidelity.h"

namespace kvpareto::tune {
namespace {

// One run of tokens through the model, and which of its positions are counted.
struct Pass {
  std::span<const int32_t> tokens;
  int64_t decode_from = -1;
  int64_t first_counted = 0;
  int64_t stride = 1;

  // Of a counted position its place among them, else -1. The last token has no successor.
  int64_t IndexOf(int64_t position) const {
    const int64_t offset = position - first_counted;
    const bool counted =
        offset >= 0 && offset % stride == 0 && position + 1 < static_cast<int64_t>(tokens.size());
    return counted ? offset / stride : -1;
  }
  int64_t counted() const {
    const int64_t eligible = static_cast<int64_t>(tokens.size()) - 1 - first_counted;
    return eligible <= 0 ? 0 : (eligible + stride - 1) / stride;
  }
};

std::vector<Pass> PassesOf(std::span<const int32_t> window, int64_t first_counted,
                           const AccuracyOptions& options, int64_t vocab) {
  std::vector<Pass> passes;
  if (options.decode_tokens == 0) {
    passes.push_back(
        {.tokens = window.first(options.contexts.back()), .first_counted = first_counted});
  } else {
    for (int64_t context : options.contexts) {
      const int64_t decode_from = std::max(context - options.decode_tokens, first_counted);
      passes.push_back({.tokens = window.first(context),
                        .decode_from = decode_from,
                        .first_counted = decode_from});
    }
  }
  for (Pass& pass : passes) {
    const uint64_t bytes = pass.counted() * vocab * sizeof(float);
    pass.stride = static_cast<int64_t>(bytes / options.reference_bytes) + 1;
  }
  return passes;
}

// Runs the pass and hands over the log-probabilities of every counted position.
template <typename Fn>
absl::Status ScoreCounted(Engine& engine, const Pass& pass, const KvConfig& config, Fn&& fn) {
  const auto vocab = static_cast<size_t>(engine.model().config.vocab);
  std::vector<float> row(vocab);
  return engine.Score(pass.tokens, config,
                      {.decode_from = pass.decode_from, .logits_from = pass.first_counted},
                      [&](int64_t first_position, std::span<const float> logits) {
                        for (size_t r = 0; r * vocab < logits.size(); ++r) {
                          const int64_t position = first_position + static_cast<int64_t>(r);
                          const int64_t index = pass.IndexOf(position);
                          if (index < 0) continue;
                          const auto source = logits.subspan(r * vocab, vocab);
                          std::copy(source.begin(), source.end(), row.begin());
                          LogSoftmax(row);
                          fn(position, index, std::span<const float>(row));
                        }
                      });
}

// Collects, per config and bucket, every position's comparison.
class Collector {
 public:
  Collector(Engine& engine, const std::vector<NamedConfig>& configs, const AccuracyOptions& options,
            Progress& progress)
      : engine_(engine),
        configs_(configs),
        options_(options),
        progress_(progress),
        positions_(configs.size(),
                   std::vector<std::vector<PositionFidelity>>(options.contexts.size())) {}

  // The reference and every config of one chunk size.
  absl::Status Run(const Pass& pass, int chunk_tokens) {
    const auto vocab = static_cast<size_t>(engine_.model().config.vocab);
    std::vector<float> reference(pass.counted() * vocab);  // [counted, vocab] log-probabilities
    KVP_RETURN_IF_ERROR(ScoreCounted(engine_, pass, KvConfig::Bf16(chunk_tokens),
                                     [&](int64_t, int64_t index, std::span<const float> row) {
                                       std::copy(row.begin(), row.end(),
                                                 reference.begin() + index * vocab);
                                     }));
    progress_.Advance(pass.tokens.size(), "bf16 reference");
    for (size_t c = 0; c < configs_.size(); ++c) {
      const KvConfig& config = configs_[c].config;
      if (config.prefill_chunk_tokens != chunk_tokens || config.is_bf16()) continue;
      KVP_RETURN_IF_ERROR(ScoreCounted(
          engine_, pass, config, [&](int64_t position, int64_t index, std::span<const float> row) {
            const std::span<const float> expected(reference.data() + index * vocab, vocab);
            positions_[c][BucketOf(position)].push_back(
                ComparePosition(expected, row, pass.tokens[position + 1]));
          }));
      progress_.Advance(pass.tokens.size(), configs_[c].name);
    }
    return absl::OkStatus();
  }

  std::vector<std::vector<AccuracyBucket>> Buckets() const {
    std::vector<std::vector<AccuracyBucket>> result(configs_.size());
    for (size_t c = 0; c < configs_.size(); ++c) {
      for (size_t b = 0; b < options_.contexts.size(); ++b) {
        if (configs_[c].config.is_bf16()) {  // the reference, by definition
          result[c].push_back({.max_context_tokens = options_.contexts[b]});
        } else if (!positions_[c][b].empty()) {
          result[c].push_back(Summarize(options_.contexts[b], positions_[c][b]));
        }
      }
    }
    return result;
  }

 private:
  // A query at position p sees a context of p + 1 tokens.
  size_t BucketOf(int64_t position) const {
    const auto bucket =
        std::lower_bound(options_.contexts.begin(), options_.contexts.end(), position + 1);
    return bucket - options_.contexts.begin();
  }

  Engine& engine_;
  const std::vector<NamedConfig>& configs_;
  const AccuracyOptions& options_;
  Progress& progress_;
  std::vector<std::vector<std::vector<PositionFidelity>>> positions_;  // [config][bucket]
};

// Chunk sizes of the configs that have to be measured, and how many there are of each.
std::map<int, int> QuantizedByChunk(const std::vector<NamedConfig>& configs) {
  std::map<int, int> counts;
  for (const NamedConfig& named : configs) {
    if (!named.config.is_bf16()) ++counts[named.config.prefill_chunk_tokens];
  }
  return counts;
}

}  // namespace

int64_t FirstCountedPosition(const std::vector<NamedConfig>& configs, int decode_tokens) {
  int64_t first = 0;
  for (const NamedConfig& named : configs) {
    const KvConfig& config = named.config;
    if (config.is_bf16()) continue;
    int64_t begin = config.sink_tokens + config.recent_tokens + kv::kBlockTokens;
    if (decode_tokens == 0) {  // the next chunk's first token
      const int64_t chunk = config.prefill_chunk_tokens;
      begin = (begin + chunk - 1) / chunk * chunk;
    }
    first = std::max(first, begin);
  }
  return first;
}

int64_t AccuracyWork(const std::vector<NamedConfig>& configs, int windows,
                     const AccuracyOptions& options) {
  const int64_t first_counted = FirstCountedPosition(configs, options.decode_tokens);
  int64_t tokens = 0;
  for (int64_t context : options.contexts) {
    if (context <= first_counted + 1) continue;
    tokens = options.decode_tokens == 0 ? context : tokens + context;
  }
  int64_t runs = 0;
  for (const auto& [chunk, count] : QuantizedByChunk(configs)) runs += 1 + count;
  return windows * tokens * runs;
}

absl::StatusOr<std::vector<std::vector<AccuracyBucket>>> MeasureAccuracy(
    Engine& engine, const std::vector<std::vector<int32_t>>& windows,
    const std::vector<NamedConfig>& configs, const AccuracyOptions& options, Progress& progress) {
  const int64_t first_counted = FirstCountedPosition(configs, options.decode_tokens);
  if (first_counted + 1 >= options.contexts.back()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "NOTHING_COUNTED",
                     "no position of the largest context reads a quantized block under every "
                     "config: contexts must exceed " +
                         std::to_string(first_counted + 1) + " tokens",
                     {{"first_counted_position", std::to_string(first_counted)}});
  }
  Collector collector(engine, configs, options, progress);
  for (const std::vector<int32_t>& window : windows) {
    for (const Pass& pass : PassesOf(window, first_counted, options, engine.model().config.vocab)) {
      if (pass.counted() == 0) continue;
      for (const auto& [chunk, count] : QuantizedByChunk(configs)) {
        KVP_RETURN_IF_ERROR(collector.Run(pass, chunk));
      }
    }
  }
  return collector.Buckets();
}

}  // namespace kvpareto::tune
