// Accuracy of KV configs against the bf16 cache, by teacher forcing through the engine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autotuner/config_list.h"
#include "autotuner/fidelity.h"
#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct AccuracyOptions {
  std::vector<int64_t> contexts;  // upper ends of the buckets, ascending
  // 0: every counted position is computed in prefill chunks, as prompts are. Positive: each context
  // is a run of its own whose last `decode_tokens` positions are computed token by token, as
  // generated text is, and only these are counted.
  int decode_tokens = 0;
  // The reference's distributions are kept in memory; positions are counted every so many that they
  // fit in this.
  uint64_t reference_bytes = uint64_t{1} << 30;
};

// The rule of what counts. A position is counted when, under every config of the list, its step
// begins at or after sink + recent + 64 tokens: from there on a query reads at least one sealed
// block. So all configs are compared at the same positions, none of which has an exact cache, and
// a bucket holds the counted positions of contexts above the bucket before it.
int64_t FirstCountedPosition(const std::vector<NamedConfig>& configs, int decode_tokens);

// Tokens that go through the model: the unit of `progress`.
int64_t AccuracyWork(const std::vector<NamedConfig>& configs, int windows,
                     const AccuracyOptions& options);

// Measures one config after the other on the same windows.
class AccuracyMeter {
 public:
  // `first_counted` is that of all configs to be compared. There is at least one context, and each
  // window holds at least the largest context's tokens. All outlive the meter.
  AccuracyMeter(Engine& engine, const std::vector<std::vector<int32_t>>& windows,
                const AccuracyOptions& options, int64_t first_counted);

  // Tokens that go through the model for one config, and again for the reference of its chunk.
  int64_t work() const;

  // Of each bucket the counted positions. The reference is bf16 with the config's chunk, so nothing
  // but the cache's precision differs; it is kept until a config has another chunk. Errors: of
  // Engine::Score.
  absl::StatusOr<std::vector<std::vector<PositionFidelity>>> Measure(const KvConfig& config);

  // A config's buckets; those in which nothing counts are left out. Of bf16, the reference by
  // definition, nothing is measured. Errors: likewise.
  absl::StatusOr<std::vector<AccuracyBucket>> Buckets(const KvConfig& config);

 private:
  // One run of tokens through the model, and which of its positions are counted.
  struct Pass {
    std::span<const int32_t> tokens;
    int64_t decode_from = -1;
    int64_t first_counted = 0;
    int64_t stride = 1;
    std::vector<float> reference;  // [counted, vocab] log-probabilities

    int64_t IndexOf(int64_t position) const;
    int64_t counted() const;
  };
  template <typename Fn>
  absl::Status ScoreCounted(const Pass& pass, const KvConfig& config, Fn&& fn);
  absl::Status MakeReference(int chunk_tokens);
  size_t BucketOf(int64_t position) const;
  size_t Vocab() const;

  Engine& engine_;
  const AccuracyOptions& options_;
  std::vector<Pass> passes_;
  int reference_chunk_ = 0;  // 0: there is none yet
};

// For every config, its buckets. There is at least one context, and each window holds at least the
// largest context's tokens. Errors: of Engine::Score; INVALID_ARGUMENT (NOTHING_COUNTED) when not
// even the largest context has a counted position.
absl::StatusOr<std::vector<std::vector<AccuracyBucket>>> MeasureAccuracy(
    Engine& engine, const std::vector<std::vector<int32_t>>& windows,
    const std::vector<NamedConfig>& configs, const AccuracyOptions& options, Progress& progress);

}  // namespace kvpareto::tune
