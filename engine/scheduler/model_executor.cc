#include "engine/scheduler/model_executor.h"

#include "engine/scheduler/sampled_continuation.h"

namespace kvpareto {

std::unique_ptr<Continuation> ModelExecutor::Start(const PreparedRequest& prepared, int index) {
  return std::make_unique<SampledContinuation>(prepared, index, transformer_->config().eos_tokens,
                                               tokenizer_);
}

StepBatch ModelExecutor::BuildBatch(const StepWork& work) const {
  StepBatch batch{.decode_rows = work.decode_rows};
  int chunk_tile = 0;
  for (const Sequence* sequence : work.sequences) {
    const std::span<const int32_t> tokens = sequence->NextTokens();
    const int64_t first_position = sequence->cache().num_tokens();
    batch.sequences.push_back(sequence->cache().Describe(
        batch.rows(), [&] { return transformer_->ChunkTile(chunk_tile++); }));
    for (size_t i = 0; i < tokens.size(); ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(static_cast<int32_t>(first_position + i));
    }
    if (!sequence->NextStepSamples()) continue;
    batch.logit_rows.push_back(batch.rows() - 1);
    batch.sampling.push_back(sequence->NextSample());
  }
  return batch;
}

absl::Status ModelExecutor::Run(const StepWork& work, StepOutputs& outputs) {
  const auto take_logits = [&](int first, int rows, std::span<float> logits) {
    const size_t vocab = logits.size() / rows;
    for (int i = 0; i < rows; ++i) {
      const auto row = logits.subspan(i * vocab, vocab);
      outputs.sampled[first + i].logits.assign(row.begin(), row.end());
    }
  };
  const auto take_token = [&](int entry, int32_t token) { outputs.sampled[entry].token = token; };
  KVP_RETURN_IF_ERROR(transformer_->Forward(BuildBatch(work), take_logits, take_token));
  for (const int index : transformer_->not_finite()) {
    outputs.not_finite.push_back(work.sequences[index]);
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
