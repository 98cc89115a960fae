// Total memory of serving one sequence: weights, KV cache, workspace. Arithmetic, held against
// measurement by memory_probe.h.
#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace kvpareto::tune {

struct TotalMemory {
  int64_t tokens = 0;
  uint64_t weights_bytes = 0;    // as they lie in memory
  uint64_t kv_bytes = 0;         // peak of prefilling `tokens`: codes, scales, sinks, open block
  uint64_t workspace_bytes = 0;  // of one prefill chunk
  uint64_t total_bytes() const { return weights_bytes + kv_bytes + workspace_bytes; }
};

TotalMemory PredictTotal(const Engine& engine, const KvConfig& config, int64_t tokens);

// What the same sequence takes without any of this: bf16 weights and bf16 keys and values.
struct BaselineMemory {
  int64_t tokens = 0;
  uint64_t weights_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t scores_bytes =
      0;  // heads * tokens^2 * 2: one layer's scores, where attention keeps them

  // Eager attention, as KV Pareto counts (arXiv 2512.01953): it is against this that the reductions
  // of the paper hold.
  uint64_t eager_bytes() const { return weights_bytes + kv_bytes + scores_bytes; }
  // Attention that keeps no scores (FlashAttention), and no other activation either: the least that
  // bf16 can take, so that a reduction against it is a lower bound.
  uint64_t flash_bytes() const { return weights_bytes + kv_bytes; }
};

// `parameters`: of the model, 2 bytes each; 0: CountParameters.
BaselineMemory Baseline(const ModelConfig& model, int64_t parameters, int64_t tokens);

// Elements of all weight matrices, norms and biases.
int64_t CountParameters(const ModelConfig& model);

// 1 - part / whole.
double Reduction(uint64_t part, uint64_t whole);

}  // namespace kvpareto::tune
