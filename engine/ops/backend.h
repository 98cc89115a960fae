// What the model needs from a device. One implementation per device (cpu/, cuda/); the forward pass
// (model/transformer.cc) is written against this interface only.
//
// Activations are opaque to the callers: row-major matrices of the backend's own element type
// (float on the CPU) in memory that the backend allocated. Operations are issued in order; their
// results are visible to the host after Synchronize(). Sizes are checked invariants; an operation
// itself cannot fail, a lost device is reported by Synchronize().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "engine/base/status.h"
#include "engine/base/tensor.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/codec.h"
#include "engine/ops/requantize.h"
#include "engine/ops/sample.h"

namespace kvpareto {

// Device memory, freed on destruction.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual std::byte* data() = 0;
  virtual size_t bytes() const = 0;
};

// A weight matrix [rows, cols] (rows = output features) in the layout the backend computes from.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual int rows() const = 0;
  virtual int cols() const = 0;
  virtual size_t resident_bytes() const = 0;
};

// A matrix of activations, row-major, densely packed: [rows, cols].
struct Activations {
  std::byte* data = nullptr;
  int rows = 0;
  int cols = 0;
};

// Rows of a step stand in two groups: decode rows [0, decode_rows) first, each the one new token of
// its sequence, then the rows of prefill chunks. The arithmetic of a row depends only on its kind
// and its own sequence, never on what else is in the step: that makes greedy output independent of
// the batch. Decode rows may use another (more exact, bandwidth-bound) kernel than prefill rows.
struct RowSplit {
  int decode_rows = 0;
  int prefill_rows = 0;
};

struct LinearArgs {
  Activations x;  // [rows, weight.cols]
  const Weight* weight = nullptr;
  const Weight* bias = nullptr;  // [1, weight.rows] or null
  Activations y;                 // [rows, weight.rows]
  RowSplit split;                // decode_rows + prefill_rows == rows
  bool accumulate = false;       // y += x W^T instead of y = x W^T (the residual stream)
};

struct RmsNormArgs {
  Activations x;                   // [rows, cols]
  const Weight* weight = nullptr;  // [1, group_cols]
  Activations y;                   // may be x
  float epsilon = 1e-5f;
  int group_cols =
      0;  // normalise each run of group_cols columns alone (QK-norm: head_dim); 0: whole rows
  int first_col = 0;  // with groups: normalise columns [first_col, last_col) only, leave the rest
  int last_col = 0;   // 0: to the end
};

// A projection with the norm before it and the gate behind it.
struct ProjectArgs {
  RmsNormArgs norm;  // whole rows, y = linear.x; no weight: no norm
  LinearArgs linear;
  Activations product;  // silu(gate) * up of linear.y = [gate | up]; no data: no gate
};

// Rotary embedding on columns [first_col, first_col + heads * head_dim) of x, in place, on pairs
// (i, i + head_dim / 2) ("NEOX" order; loaders permute interleaved rows of Q and K beforehand).
struct RopeArgs {
  Activations x;  // [rows, any]
  int first_col = 0;
  int heads = 0;
  int head_dim = 0;
  std::span<const int32_t> positions;        // [rows], host memory
  std::span<const float> inverse_frequency;  // [head_dim / 2], host memory; scaling already applied
};

// One layer's transforms (kv/transform.h) as device memory, f32; null where nothing is done.
// Vectors are [kv_heads, head_dim]. Matrices are [kv_heads, in, out] row-major, in = out =
// head_dim, and act on row vectors: y[out] = sum_in x[in] A[in][out]; so A is the transpose of the
// matrix that kv/transform.h writes.
struct LayerTransform {
  const float* key_bias = nullptr;  // before RoPE
  const float* key_center = nullptr;
  const float* key_matrix = nullptr;    // M^T
  const float* query_matrix = nullptr;  // M^-1, by the KV head that the query head reads
  const float* value_center = nullptr;
  const float* value_matrix = nullptr;   // N^T
  const float* output_matrix = nullptr;  // N^-T
};

// Rows [first_row, first_row + num_rows) belong to sequences with this transform.
struct TransformItem {
  int first_row = 0;
  int num_rows = 0;
  const LayerTransform* transform = nullptr;  // host memory, valid until the op has run
};

// Keys, values and queries as they are stored and multiplied, in place, after Rope:
//   k' = M (k - RoPE_p(b) - mean), v' = N (v - mean), q' = M^-T q.
// Where the item has a key bias, rows of `bias_query` [rows, heads * head_dim] become, per query
// head with halves (q1, q2) before the transform and b = (b1, b2) of its KV head:
//   [q1 b1 + q2 b2 | q2 b1 - q1 b2], so that  q . RoPE_p(b) = sum_i A_i cos(p f_i) + B_i sin(p
//   f_i).
struct TransformKvArgs {
  Activations qkv;  // as in StoreKvArgs, Q in columns from 0
  int k_first_col = 0;
  int v_first_col = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  std::span<const int32_t> positions;        // [rows], host memory
  std::span<const float> inverse_frequency;  // [head_dim / 2], host memory
  std::span<const TransformItem> items;
  Activations bias_query;
};

// o = N^-1 o' + mean, in place on attention outputs [rows, heads * head_dim].
struct TransformOutputArgs {
  Activations out;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  std::span<const TransformItem> items;
};

// Consecutive tokens of one sequence inside one extent, as one layer sees it.
struct KvSpan {
  std::byte* data = nullptr;                // extent base (device)
  const kv::LayerLayout* layout = nullptr;  // host memory, valid until the op has run
  int first_slot = 0;                       // first token slot inside the tile
  int num_tokens = 0;
  int first_position = 0;  // sequence position of first_slot's token
};

// Writes K and V of new tokens into bf16 tiles. Rows [first_row, first_row + num_tokens) of `qkv`
// go to the span's slots.
struct StoreKvItem {
  KvSpan destination;  // bf16 layout
  int first_row = 0;
};
struct StoreKvArgs {
  Activations qkv;  // [rows, (heads + 2 kv_heads) * head_dim]: Q then K then V
  int k_first_col = 0;
  int v_first_col = 0;
  int kv_heads = 0;
  int head_dim = 0;
  std::span<const StoreKvItem> items;
};

// Encodes whole blocks of one layer: every K and V tile of `source` (bf16) into `destination`.
struct SealItem {
  const std::byte* source = nullptr;
  const kv::LayerLayout* source_layout = nullptr;
  std::byte* destination = nullptr;
  const kv::LayerLayout* destination_layout = nullptr;
  std::span<const kv::StaticRange> k_ranges;  // [kv_heads] of this layer; empty: defaults
  std::span<const kv::StaticRange> v_ranges;
};
struct SealArgs {
  int kv_heads = 0;
  int head_dim = 0;
  std::span<const SealItem> items;
};

// Whole blocks of any codecs into smaller ones, in place.
struct RequantizeArgs {
  int kv_heads = 0;
  int head_dim = 0;
  std::span<const RequantizeItem> items;
};

// The queries of one sequence in this step and all the tokens it may read, in position order (its
// own new tokens included). Query row first_row + i is at position first_position + i.
struct AttentionSequence {
  int first_row = 0;
  int num_rows = 0;
  int first_position = 0;
  std::span<const KvSpan> spans;
  // Static ranges of this sequence's config, [kv_heads]; empty without calibration.
  std::span<const kv::StaticRange> k_ranges;
  std::span<const kv::StaticRange> v_ranges;
  // Scores of this sequence get the key bias term of its rows of `bias_query`.
  bool key_bias = false;
};
// out = softmax(q K^T * scale + causal mask) V, online softmax, no score matrix in memory. A query
// at position p reads positions (p - sliding_window, p] (all of [0, p] when sliding_window is 0).
struct AttentionArgs {
  Activations q;    // [rows, >= heads * head_dim]: columns from 0; stride q.cols
  Activations out;  // [rows, heads * head_dim]
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  float scale = 1.0f;
  int sliding_window = 0;
  RowSplit split;
  std::span<const AttentionSequence> sequences;  // decode sequences have num_rows == 1
  // For sequences with key_bias: [rows, heads * head_dim] as TransformKv left it, and the
  // frequencies of RoPE. A key at position p gets  scale * (q' . k' + sum_i A_i cos(p f_i) + B_i
  // sin(p f_i)).
  Activations bias_query;
  std::span<const float> inverse_frequency;  // [head_dim / 2], host memory
};

// Picks the next token of some rows of logits.
struct SampleArgs {
  Activations logits;               // [any, vocab]; rows that are sampled are undefined afterwards
  std::span<const SampleRow> rows;  // what they point to is valid until the op has run
  // [logits.rows], memory of AllocateOnHost: after Synchronize the tokens (or kNotFinite) of `rows`
  // are there, by SampleRow::row. Others stay.
  std::span<int32_t> tokens;
};

// The largest steps of a model: what a backend's scratch memory is planned from.
struct ScratchLimits {
  int max_decode_rows = 0;
  int max_prefill_rows = 0;
  int max_cols = 0;  // of a weight
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int context_tokens = 0;
  bool key_bias = false;  // sequences may have it (AttentionSequence)
};

// Memory of a device, as its driver reports it.
struct DeviceMemoryInfo {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;  // "cpu-amx", ..., "cpu-scalar", "cuda"

  virtual size_t activation_bytes() const = 0;  // per element
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) = 0;
  // Host memory that copies to and from the device are fastest with.
  virtual absl::StatusOr<std::unique_ptr<DeviceBuffer>> AllocateOnHost(size_t bytes) = 0;
  virtual void CopyToHost(void* to, const std::byte* from, size_t bytes) = 0;
  virtual void CopyFromHost(std::byte* to, const void* from, size_t bytes) = 0;
  // Slides bytes down inside one buffer (`to` < `from`, overlap allowed).
  virtual void Move(std::byte* to, const std::byte* from, size_t bytes) = 0;
  // Backend scratch outside the workspace (per thread accumulators, decode tiles).
  virtual size_t scratch_bytes() const = 0;
  // Takes the scratch that steps within `limits` need, so that they take no more memory later.
  // Nothing where scratch is host memory. Errors: RESOURCE_EXHAUSTED (DEVICE_MEMORY).
  virtual absl::Status ReserveScratch(const ScratchLimits& limits);
  // Nothing where the backend computes in host memory. From any thread.
  virtual std::optional<DeviceMemoryInfo> DeviceMemory() const { return std::nullopt; }

  // Repacks a matrix (2-D tensor) into the backend's layout, keeping its precision: 4..8-bit groups
  // stay so, f32/f16/bf16 become bf16. Vectors (1-D: norms, biases) stay f32. Several tensors of
  // equal cols and possibly different types may be stacked by rows ("QKV", "gate+up"): one Weight
  // computes them at once. Errors: UNIMPLEMENTED for a type or shape the backend cannot compute
  // from.
  virtual absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(
      std::span<const TensorView> stacked) = 0;

  // y row i = row ids[i] of the table. ids are in range (checked by the engine).
  virtual void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) = 0;
  virtual void RmsNorm(const RmsNormArgs& args) = 0;
  virtual void Linear(const LinearArgs& args) = 0;
  // RmsNorm, Linear and SiluMul in turn, those that are there. What lies between them (norm.y, and
  // linear.y where there is a product) is undefined afterwards: a backend may do without.
  virtual void Project(const ProjectArgs& args);
  virtual void Rope(const RopeArgs& args) = 0;
  virtual void TransformKv(const TransformKvArgs& args) = 0;
  virtual void TransformOutput(const TransformOutputArgs& args) = 0;
  virtual void StoreKv(const StoreKvArgs& args) = 0;
  // Rope, then StoreKv.
  virtual void RopeAndStoreKv(const RopeArgs& rope, const StoreKvArgs& store);
  virtual void Seal(const SealArgs& args) = 0;
  // Unless a backend does it on the device: on the host, by the scalar definition.
  virtual void Requantize(const RequantizeArgs& args);
  virtual void Attention(const AttentionArgs& args) = 0;
  // y = silu(gate) * up, where x = [gate | up], each of y.cols columns.
  virtual void SiluMul(Activations x, Activations y) = 0;
  // y row i = x row rows[i]: picks the rows whose logits are wanted.
  virtual void GatherRows(Activations x, std::span<const int32_t> rows, Activations y) = 0;
  // SampleToken (ops/sample.h) of each row.
  virtual void Sample(const SampleArgs& args) = 0;

  virtual absl::Status Synchronize() = 0;
};

}  // namespace kvpareto
