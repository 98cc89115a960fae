#include "autotuner/accuracy.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

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

// Of a counted position its place among them, else -1. The last token has no successor.
int64_t AccuracyMeter::Pass::IndexOf(int64_t position) const {
  const int64_t offset = position - first_counted;
  const bool is_counted =
      offset >= 0 && offset % stride == 0 && position + 1 < static_cast<int64_t>(tokens.size());
  return is_counted ? offset / stride : -1;
}

int64_t AccuracyMeter::Pass::counted() const {
  const int64_t eligible = static_cast<int64_t>(tokens.size()) - 1 - first_counted;
  return eligible <= 0 ? 0 : (eligible + stride - 1) / stride;
}

AccuracyMeter::AccuracyMeter(Engine& engine, const std::vector<std::vector<int32_t>>& windows,
                             const AccuracyOptions& options, int64_t first_counted)
    : engine_(engine), options_(options) {
  const auto add = [&](std::span<const int32_t> tokens, int64_t decode_from, int64_t first) {
    Pass pass{.tokens = tokens, .decode_from = decode_from, .first_counted = first};
    if (pass.counted() > 0) passes_.push_back(std::move(pass));
  };
  for (const std::vector<int32_t>& window : windows) {
    const std::span<const int32_t> tokens(window);
    if (options.decode_tokens == 0) {
      add(tokens.first(options.contexts.back()), -1, first_counted);
      continue;
    }
    for (int64_t context : options.contexts) {
      const int64_t decode_from = std::max(context - options.decode_tokens, first_counted);
      add(tokens.first(context), decode_from, decode_from);
    }
  }
  for (Pass& pass : passes_) {
    const uint64_t bytes = pass.counted() * Vocab() * sizeof(float) * passes_.size();
    pass.stride = static_cast<int64_t>(bytes / options.reference_bytes) + 1;
  }
}

int64_t AccuracyMeter::work() const {
  int64_t tokens = 0;
  for (const Pass& pass : passes_) tokens += std::ssize(pass.tokens);
  return tokens;
}

size_t AccuracyMeter::Vocab() const { return engine_.model().config.vocab; }

// A query at position p sees a context of p + 1 tokens.
size_t AccuracyMeter::BucketOf(int64_t position) const {
  const auto bucket =
      std::lower_bound(options_.contexts.begin(), options_.contexts.end(), position + 1);
  return bucket - options_.contexts.begin();
}

// Runs the pass and calls fn(index, log-probabilities) for every counted position, from several
// threads.
template <typename Fn>
absl::Status AccuracyMeter::ScoreCounted(const Pass& pass, const KvConfig& config, Fn&& fn) {
  const auto on_logits = [&](int64_t first_position, std::span<const float> logits) {
    ParallelFor(static_cast<int>(logits.size() / Vocab()), 0, [&](int r) {
      const int64_t index = pass.IndexOf(first_position + r);
      if (index < 0) return;
      const auto source = logits.subspan(r * Vocab(), Vocab());
      std::vector<float> row(source.begin(), source.end());
      LogSoftmax(row);
      fn(index, std::span<const float>(row));
    });
  };
  return engine_.Score(pass.tokens, config,
                       {.decode_from = pass.decode_from, .logits_from = pass.first_counted},
                       on_logits);
}

absl::Status AccuracyMeter::MakeReference(int chunk_tokens) {
  reference_chunk_ = 0;
  for (Pass& pass : passes_) {
    pass.reference.resize(pass.counted() * Vocab());
    KVP_RETURN_IF_ERROR(ScoreCounted(
        pass, KvConfig::Bf16(chunk_tokens), [&](int64_t index, std::span<const float> row) {
          std::copy(row.begin(), row.end(), pass.reference.begin() + index * Vocab());
        }));
  }
  reference_chunk_ = chunk_tokens;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<PositionFidelity>>> AccuracyMeter::Measure(
    const KvConfig& config) {
  if (reference_chunk_ != config.prefill_chunk_tokens) {
    KVP_RETURN_IF_ERROR(MakeReference(config.prefill_chunk_tokens));
  }
  std::vector<std::vector<PositionFidelity>> positions(options_.contexts.size());
  for (const Pass& pass : passes_) {
    const auto position_of = [&](int64_t index) {
      return pass.first_counted + index * pass.stride;
    };
    std::vector<PositionFidelity> found(pass.counted());
    KVP_RETURN_IF_ERROR(ScoreCounted(pass, config, [&](int64_t index, std::span<const float> row) {
      const std::span<const float> expected(pass.reference.data() + index * Vocab(), Vocab());
      found[index] = ComparePosition(expected, row, pass.tokens[position_of(index) + 1]);
    }));
    for (int64_t i = 0; i < pass.counted(); ++i) {
      positions[BucketOf(position_of(i))].push_back(found[i]);
    }
  }
  return positions;
}

absl::StatusOr<std::vector<AccuracyBucket>> AccuracyMeter::Buckets(const KvConfig& config) {
  std::vector<AccuracyBucket> buckets;
  if (config.is_bf16()) {
    for (int64_t context : options_.contexts) buckets.push_back({.max_context_tokens = context});
    return buckets;
  }
  KVP_ASSIGN_OR_RETURN(const auto positions, Measure(config));
  for (size_t b = 0; b < positions.size(); ++b) {
    if (!positions[b].empty()) {
      buckets.push_back(Summarize(options_.contexts[b], positions[b]));
    }
  }
  return buckets;
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
  AccuracyMeter meter(engine, windows, options, first_counted);
  std::vector<std::vector<AccuracyBucket>> buckets(configs.size());
  int chunk_before = 0;
  // By chunk, so that each reference is made once.
  std::multimap<int, size_t> by_chunk;
  for (size_t c = 0; c < configs.size(); ++c) {
    by_chunk.emplace(configs[c].config.prefill_chunk_tokens, c);
  }
  for (const auto& [chunk, c] : by_chunk) {
    KVP_ASSIGN_OR_RETURN(buckets[c], meter.Buckets(configs[c].config));
    if (configs[c].config.is_bf16()) continue;
    const bool referenced = std::exchange(chunk_before, chunk) != chunk;
    progress.Advance(meter.work() * (referenced ? 2 : 1), configs[c].name);
  }
  return buckets;
}

}  // namespace kvpareto::tune
