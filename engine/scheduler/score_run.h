// Teacher forcing: one text through the model under one KV config (Engine::Score,
// Engine::Observe).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/model/transformer.h"
#include "engine/request.h"
#include "engine/scheduler/cache_format.h"
#include "engine/scheduler/sequence_cache.h"
#include "engine/scheduler/write_codec.h"

namespace kvpareto {

struct ScoreInput {
  std::vector<int32_t> tokens;  // not empty
  KvConfig config;
  ScoreOptions options;
  ScoreLogitsFn on_logits;  // null: no logits wanted
  ObserveFn observe;        // may be null
};

// Runs on the engine thread, between the scheduler's steps.
class ScoreRun {
 public:
  // `format` is that of input.config, `later_format` that of options.requantize_to (null: none).
  // All outlive the run.
  ScoreRun(const ScoreInput& input, std::shared_ptr<const CacheFormat> format,
           std::shared_ptr<const CacheFormat> later_format, Transformer* transformer,
           kv::Arena* arena);

  // Errors: RESOURCE_EXHAUSTED (KV_EXCEEDS_CAPACITY); INVALID_ARGUMENT (CODEC_NEEDS_BLOCKS,
  // SCORE_OPTION_INVALID); of Transformer::Forward.
  absl::Status Run();

 private:
  absl::Status Prepare();
  absl::Status RunSteps();
  absl::Status Requantize(SequenceCache& cache);
  bool HasExactWindow() const { return write_codec_ && input_.config.recent_tokens > 0; }
  bool Decoding(int64_t position) const;
  int NextStepRows(int64_t position) const;
  absl::Status Step(SequenceCache& cache, SequenceCache* exact);
  StepBatch Batch(int64_t first, int rows) const;
  void AddDecodeRows(const SequenceStep& step, const SequenceStep* exact, StepBatch& batch) const;
  void Observe(int64_t first_position, int rows);

  const ScoreInput& input_;
  std::shared_ptr<const CacheFormat> format_;
  std::shared_ptr<const CacheFormat> later_format_;  // null once it is format_
  Transformer* const transformer_;
  kv::Arena* const arena_;
  std::optional<WriteCodec> write_codec_;  // options.encode_on_write
};

}  // namespace kvpareto
