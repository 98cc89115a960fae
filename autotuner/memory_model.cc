#include "autotuner/memory_model.h"

namespace kvpareto::tune {

TotalMemory PredictTotal(const Engine& engine, const KvConfig& config, int64_t tokens) {
  const ModelInfo& model = engine.model();
  return {.tokens = tokens,
          .weights_bytes = model.weights_bytes,
          .kv_bytes = kv::PredictPeakBytes(Footprint(config, model.config), tokens, tokens,
                                           config.prefill_chunk_tokens),
          .workspace_bytes = engine.WorkspaceBytes(config.prefill_chunk_tokens)};
}

BaselineMemory Baseline(const ModelConfig& model, int64_t parameters, int64_t tokens) {
  constexpr int64_t kBf16Bytes = 2;
  if (parameters == 0) parameters = CountParameters(model);
  const int64_t kv_elements = int64_t{2} * model.layers * model.kv_heads * model.head_dim * tokens;
  return {.tokens = tokens,
          .weights_bytes = static_cast<uint64_t>(parameters * kBf16Bytes),
          .kv_bytes = static_cast<uint64_t>(kv_elements * kBf16Bytes),
          .scores_bytes = static_cast<uint64_t>(model.heads * tokens * tokens * kBf16Bytes)};
}

int64_t CountParameters(const ModelConfig& model) {
  const int64_t hidden = model.hidden, q = int64_t{model.heads} * model.head_dim,
                kv = int64_t{model.kv_heads} * model.head_dim;
  const int64_t embeddings = model.vocab * hidden * (model.tied_head ? 1 : 2);
  const int64_t attention = 2 * hidden * q + 2 * hidden * kv + (model.qkv_bias ? q + 2 * kv : 0) +
                            (model.qk_norm ? 2 * model.head_dim : 0);
  const int64_t layer = attention + 3 * hidden * model.ffn + 2 * hidden;
  return embeddings + model.layers * layer + hidden;
}

double Reduction(uint64_t part, uint64_t whole) {
  return 1.0 - static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace kvpareto::tune
