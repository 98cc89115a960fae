// The forward pass of decoder-only transformers of the Llama family, written in terms of backend
// operations.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/step_batch.h"
#include "engine/model/weights.h"
#include "engine/ops/backend.h"

namespace kvpareto {

// The largest step that a workspace is allocated for.
struct StepLimits {
  int max_decode_rows = 64;
  int max_prefill_rows = 1024;
};

// What one layer computes of the rows of a step, as host floats.
struct LayerActivations {
  std::vector<float> attention_input;   // [rows, hidden], of the Q, K and V projections
  std::vector<float> qkv;               // [rows, (heads + 2 kv_heads) * head_dim], after RoPE
  std::vector<float> attention_output;  // [rows, heads * head_dim], of the output projection
  std::vector<float> ffn_input;         // [rows, hidden], of the gate and up projections
  std::vector<float> ffn_product;       // [rows, ffn], of the down projection
};

// Not thread-safe: used by the engine thread (const methods from anywhere).
class Transformer {
 public:
  // Allocates the workspace. `backend` outlives the transformer.
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(const ModelConfig& config,
                                                             ModelWeights weights,
                                                             const StepLimits& limits,
                                                             Backend* backend);

  // Shows what every layer computes, queries, keys and values before they are transformed
  // (engine/request.h). It is copied from the device: for measurements. Null: nobody looks.
  using ObserveFn = std::function<void(int layer, const LayerActivations&)>;
  void SetObserver(ObserveFn observe) {
    observe_ = std::move(observe);
    observed_ = {};
  }

  // Changes keys and values of every layer on the host, after they are transformed: what the step
  // stores in SequenceStep::stores_after_filter. For measurements. Null: nothing is changed.
  using WriteFilterFn = std::function<void(int layer, std::span<float> qkv)>;
  void SetWriteFilter(WriteFilterFn filter) { write_filter_ = std::move(filter); }

  // Called with the logits of consecutive entries of batch.logit_rows: [rows, vocab] host floats.
  using LogitsFn = std::function<void(int first, int rows, std::span<float> logits)>;
  // Called with what was chosen for an entry of batch.logit_rows that says how: a token, or
  // kNotFinite.
  using TokenFn = std::function<void(int entry, int32_t token)>;

  // Runs one step. Keys and values have been stored and blocks sealed when it returns. Errors: a
  // lost device (INTERNAL), no host memory for logits (RESOURCE_EXHAUSTED).
  absl::Status Forward(const StepBatch& batch, const LogitsFn& on_logits,
                       const TokenFn& on_token = nullptr);

  // Of the last Forward: the prefilling ones of batch.sequences, by index, whose last row is not
  // all finite. Each row of a chunk reads those before it, so a NaN or infinity among their keys or
  // values reaches the last one.
  const std::vector<int>& not_finite() const { return not_finite_; }

  // Encodes blocks anew (ops/requantize.h), between steps.
  void Requantize(std::span<const RequantizeItem> items) {
    backend_->Requantize(
        {.kv_heads = config_.kv_heads, .head_dim = config_.head_dim, .items = items});
  }

  // The chunk buffer: bf16 tiles of one layer for blocks that are filled and sealed in the same
  // step. Handed out by the scheduler, at most chunk_tiles() a step.
  BlockSpan ChunkTile(int index) const;
  int chunk_tiles() const { return chunk_tiles_; }

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  size_t workspace_bytes() const { return workspace_->bytes(); }  // allocated for the limits

  // What a prefill chunk of `rows` tokens uses of the workspace: activations, chunk buffer, one row
  // of logits. A pure function of the model.
  static size_t WorkspaceShareBytes(const ModelConfig& config, int rows, size_t activation_bytes);

 private:
  Transformer(const ModelConfig& config, ModelWeights weights, Backend* backend);

  void PlanWorkspace(const StepLimits& limits);
  void RunLayer(int layer, const StepBatch& batch, RowSplit split);
  void RunAttention(int layer, const StepBatch& batch, RowSplit split);
  void SetLayer(int layer, const StepBatch& batch);
  void Project(const ProjectArgs& args);
  void Observe(Activations x, std::vector<float>& to);
  void TransformKv(const StepBatch& batch, Activations qkv, Activations bias_query);
  StoreKvArgs StoreArgs(Activations qkv) const;
  void StoreKv(int layer, Activations qkv);
  absl::Status CopyLastRows(const StepBatch& batch);
  void FindNotFinite(const StepBatch& batch);
  absl::Status ComputeLogits(const StepBatch& batch, const LogitsFn& on_logits);
  void SampleLogits(const StepBatch& batch, int first, Activations logits);
  absl::Status ShowLogits(const StepBatch& batch, int first, Activations logits,
                          const LogitsFn& on_logits);
  Activations Matrix(size_t offset, int rows, int cols) const;
  RmsNormArgs Norm(Activations x, const Weight* weight, Activations y) const;

  ModelConfig config_;
  ModelWeights weights_;
  Backend* backend_;
  int chunk_tiles_ = 0;
  kv::BlockLayout chunk_layout_;  // one layer

  // Workspace regions (byte offsets). `hidden` and `normed` are [rows, hidden]; `inner` holds QKV
  // and attention output first, then gate|up and their product.
  std::unique_ptr<DeviceBuffer> workspace_;
  size_t hidden_offset_ = 0;
  size_t normed_offset_ = 0;
  size_t inner_offset_ = 0;
  size_t inner_second_offset_ = 0;  // attention output; SiLU product
  size_t bias_query_offset_ = 0;    // models with a QKV bias only
  size_t chunk_offset_ = 0;
  size_t logit_rows_offset_ = 0;  // [kLogitRows, hidden]
  size_t logits_offset_ = 0;      // [kLogitRows, vocab]

  // Per-layer views of the batch, rebuilt for each step and re-pointed for each layer.
  std::vector<KvSpan> spans_;
  std::vector<AttentionSequence> sequences_;
  std::vector<StoreKvItem> stores_, stores_after_filter_;
  std::vector<SealItem> seals_;
  std::vector<TransformItem> transforms_;
  ObserveFn observe_;
  LayerActivations observed_;  // of the current layer, where somebody looks
  WriteFilterFn write_filter_;
  std::vector<SampleRow> sample_rows_;         // of a step, so that they outlive their operations
  std::unique_ptr<DeviceBuffer> host_tokens_;  // [rows of a step] int32, host memory
  std::unique_ptr<DeviceBuffer> last_rows_;    // [prefilling sequences, hidden] f32, host memory
  std::vector<int> not_finite_;
  std::unique_ptr<DeviceBuffer> host_logits_;  // [kLogitRows, vocab] f32, host memory; on first use
};

}  // namespace kvpareto
