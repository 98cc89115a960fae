#include "engine/model/transformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

// Logits are computed for this many rows at a time: a step of many sequences, or teacher forcing
// over a whole chunk, must not need a [rows, vocab] buffer.
constexpr int kLogitRows = 16;

int QkvCols(const ModelConfig& c) { return (c.heads + 2 * c.kv_heads) * c.head_dim; }

// Elements per row of the region that holds first [QKV | attention output], then [gate, up |
// product].
int InnerFirstCols(const ModelConfig& c) { return std::max(QkvCols(c), 2 * c.ffn); }
int InnerSecondCols(const ModelConfig& c) { return std::max(c.heads * c.head_dim, c.ffn); }

// Of models whose key bias may have to be removed (ops/backend.h).
int BiasQueryCols(const ModelConfig& c) { return c.qkv_bias ? c.heads * c.head_dim : 0; }

int RowElements(const ModelConfig& c) {
  return 2 * c.hidden + InnerFirstCols(c) + InnerSecondCols(c) + BiasQueryCols(c);
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, ModelWeights weights, Backend* backend)
    : config_(config),
      weights_(std::move(weights)),
      backend_(backend),
      chunk_layout_(kv::BlockLayout::Bf16(1, config.kv_heads, config.head_dim)) {}

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Create(const ModelConfig& config,
                                                                 ModelWeights weights,
                                                                 const StepLimits& limits,
                                                                 Backend* backend) {
  std::unique_ptr<Transformer> model(new Transformer(config, std::move(weights), backend));
  model->PlanWorkspace(limits);
  const size_t bytes =
      model->logits_offset_ + kLogitRows * size_t(config.vocab) * backend->activation_bytes();
  KVP_ASSIGN_OR_RETURN(model->workspace_, backend->Allocate(bytes));
  const size_t rows = limits.max_decode_rows + limits.max_prefill_rows;
  KVP_ASSIGN_OR_RETURN(model->host_tokens_, backend->AllocateOnHost(rows * sizeof(int32_t)));
  return model;
}

void Transformer::PlanWorkspace(const StepLimits& limits) {
  const size_t rows = limits.max_decode_rows + limits.max_prefill_rows;
  size_t offset = 0;
  const auto region = [&](size_t bytes) {
    const size_t begin = offset;
    offset += kv::AlignUp(bytes);
    return begin;
  };
  const size_t element = backend_->activation_bytes();
  chunk_tiles_ = limits.max_prefill_rows / kv::kBlockTokens;
  hidden_offset_ = region(rows * config_.hidden * element);
  normed_offset_ = region(rows * config_.hidden * element);
  inner_offset_ = region(rows * InnerFirstCols(config_) * element);
  inner_second_offset_ = region(rows * InnerSecondCols(config_) * element);
  bias_query_offset_ = region(rows * BiasQueryCols(config_) * element);
  chunk_offset_ = region(chunk_tiles_ * chunk_layout_.bytes());
  logit_rows_offset_ = region(kLogitRows * size_t(config_.hidden) * element);
  logits_offset_ = offset;
}

size_t Transformer::WorkspaceShareBytes(const ModelConfig& config, int rows,
                                        size_t activation_bytes) {
  const size_t chunk_tile = kv::BlockLayout::Bf16(1, config.kv_heads, config.head_dim).bytes();
  return rows * size_t(RowElements(config)) * activation_bytes +
         rows / kv::kBlockTokens * chunk_tile +
         (size_t(config.hidden) + config.vocab) * activation_bytes;
}

Activations Transformer::Matrix(size_t offset, int rows, int cols) const {
  return {.data = workspace_->data() + offset, .rows = rows, .cols = cols};
}

BlockSpan Transformer::ChunkTile(int index) const {
  KVP_CHECK(index >= 0 && index < chunk_tiles_) << index << " of " << chunk_tiles_;
  return {.data = workspace_->data() + chunk_offset_ + index * chunk_layout_.bytes(),
          .layout = &chunk_layout_,
          .one_layer = true};
}

absl::Status Transformer::Forward(const StepBatch& batch, const LogitsFn& on_logits,
                                  const TokenFn& on_token) {
  const int rows = batch.rows();
  const RowSplit split{.decode_rows = batch.decode_rows, .prefill_rows = rows - batch.decode_rows};

  spans_.clear();
  sequences_.clear();
  size_t num_spans = 0;
  for (const SequenceStep& sequence : batch.sequences) num_spans += sequence.reads.size();
  spans_.resize(num_spans);
  size_t next_span = 0;
  for (const SequenceStep& sequence : batch.sequences) {
    sequences_.push_back({.first_row = sequence.first_row,
                          .num_rows = sequence.num_rows,
                          .first_position = sequence.first_position,
                          .spans = {spans_.data() + next_span, sequence.reads.size()}});
    next_span += sequence.reads.size();
  }

  backend_->Embed(*weights_.embedding, batch.tokens, Matrix(hidden_offset_, rows, config_.hidden));
  for (int layer = 0; layer < config_.layers; ++layer) RunLayer(layer, batch, split);
  KVP_RETURN_IF_ERROR(ComputeLogits(batch, on_logits));
  KVP_RETURN_IF_ERROR(CopyLastRows(batch));
  FindNotFinite(batch);
  const auto* tokens = reinterpret_cast<const int32_t*>(host_tokens_->data());
  for (size_t i = 0; i < batch.sampling.size(); ++i) {
    if (batch.sampling[i]) on_token(static_cast<int>(i), tokens[i]);
  }
  return absl::OkStatus();
}

// Points the step's spans, stores and seals at `layer`.
void Transformer::SetLayer(int layer, const StepBatch& batch) {
  const auto view = [layer](const BlockSpan& span) {
    return KvSpan{.data = span.data,
                  .layout = &span.ForLayer(layer),
                  .first_slot = span.first_slot,
                  .num_tokens = span.num_tokens,
                  .first_position = span.first_position};
  };
  stores_.clear();
  stores_after_filter_.clear();
  seals_.clear();
  transforms_.clear();
  size_t next_span = 0;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const SequenceStep& sequence = batch.sequences[i];
    std::span<const kv::StaticRange> k_ranges, v_ranges;
    if (const KvTransforms* transforms = sequence.transforms) {
      k_ranges = transforms->KeyRanges(layer);
      v_ranges = transforms->ValueRanges(layer);
      if (const LayerTransform* transform = transforms->layer(layer)) {
        transforms_.push_back({.first_row = sequence.first_row,
                               .num_rows = sequence.num_rows,
                               .transform = transform});
      }
      sequences_[i].key_bias = transforms->key_bias(layer);
    }
    sequences_[i].k_ranges = k_ranges;
    sequences_[i].v_ranges = v_ranges;
    for (const BlockSpan& span : sequence.reads) spans_[next_span++] = view(span);
    for (const SequenceStep::Store& store : sequence.stores) {
      stores_.push_back({.destination = view(store.destination), .first_row = store.first_row});
    }
    for (const SequenceStep::Store& store : sequence.stores_after_filter) {
      stores_after_filter_.push_back(
          {.destination = view(store.destination), .first_row = store.first_row});
    }
    for (const SequenceStep::Seal& seal : sequence.seals) {
      seals_.push_back({.source = seal.source.data,
                        .source_layout = &seal.source.ForLayer(layer),
                        .destination = seal.destination.data,
                        .destination_layout = &seal.destination.ForLayer(layer),
                        .k_ranges = k_ranges,
                        .v_ranges = v_ranges});
    }
  }
}

RmsNormArgs Transformer::Norm(Activations x, const Weight* weight, Activations y) const {
  return {.x = x, .weight = weight, .y = y, .epsilon = config_.rms_epsilon};
}

void Transformer::RunLayer(int layer, const StepBatch& batch, RowSplit split) {
  const LayerWeights& w = weights_.layers[layer];
  const int rows = batch.rows();
  const Activations hidden = Matrix(hidden_offset_, rows, config_.hidden);
  const Activations normed = Matrix(normed_offset_, rows, config_.hidden);

  RunAttention(layer, batch, split);

  const Activations gate_up = Matrix(inner_offset_, rows, 2 * config_.ffn);
  const Activations product = Matrix(inner_second_offset_, rows, config_.ffn);
  Project({.norm = Norm(hidden, w.ffn_norm.get(), normed),
           .linear = {.x = normed, .weight = w.gate_up.get(), .y = gate_up, .split = split},
           .product = product});
  Observe(normed, observed_.ffn_input);
  Observe(product, observed_.ffn_product);
  backend_->Linear(
      {.x = product, .weight = w.ffn_down.get(), .y = hidden, .split = split, .accumulate = true});
  if (observe_) observe_(layer, observed_);
}

// A backend may leave norms out of memory; who looks wants the plain sequence of operations.
void Transformer::Project(const ProjectArgs& args) {
  if (observe_) {
    backend_->Backend::Project(args);
  } else {
    backend_->Project(args);
  }
}

// hidden += W_o attention(norm(hidden)): projections, QK-norm, rotary embedding, stores, attention
// over all the sequence may read, and sealing of the blocks that this step completes.
void Transformer::RunAttention(int layer, const StepBatch& batch, RowSplit split) {
  const LayerWeights& w = weights_.layers[layer];
  const int rows = batch.rows();
  const int k_col = config_.heads * config_.head_dim;
  const int v_col = k_col + config_.kv_heads * config_.head_dim;
  const Activations hidden = Matrix(hidden_offset_, rows, config_.hidden);
  const Activations normed = Matrix(normed_offset_, rows, config_.hidden);
  const Activations qkv = Matrix(inner_offset_, rows, QkvCols(config_));
  const Activations attended = Matrix(inner_second_offset_, rows, config_.heads * config_.head_dim);

  Project({.norm = Norm(hidden, w.attn_norm.get(), normed),
           .linear = {.x = normed,
                      .weight = w.qkv.get(),
                      .bias = w.qkv_bias.get(),
                      .y = qkv,
                      .split = split}});
  Observe(normed, observed_.attention_input);
  const auto head_norm = [&](const Weight* weight, int first_col, int last_col) {
    if (weight == nullptr) return;
    backend_->RmsNorm({.x = qkv,
                       .weight = weight,
                       .y = qkv,
                       .epsilon = config_.rms_epsilon,
                       .group_cols = config_.head_dim,
                       .first_col = first_col,
                       .last_col = last_col});
  };
  head_norm(w.q_norm.get(), 0, k_col);
  head_norm(w.k_norm.get(), k_col, v_col);
  const RopeArgs rope{.x = qkv,
                      .first_col = 0,
                      .heads = config_.heads + config_.kv_heads,
                      .head_dim = config_.head_dim,
                      .positions = batch.positions,
                      .inverse_frequency = config_.inverse_frequency};
  SetLayer(layer, batch);
  const Activations bias_query = Matrix(bias_query_offset_, rows, config_.heads * config_.head_dim);
  const bool observed = observe_ || write_filter_;
  if (transforms_.empty() && !observed) {
    backend_->RopeAndStoreKv(rope, StoreArgs(qkv));
  } else {
    backend_->Rope(rope);
    Observe(qkv, observed_.qkv);
    if (!transforms_.empty()) TransformKv(batch, qkv, bias_query);
    StoreKv(layer, qkv);
  }
  backend_->Attention({.q = qkv,
                       .out = attended,
                       .heads = config_.heads,
                       .kv_heads = config_.kv_heads,
                       .head_dim = config_.head_dim,
                       .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                       .sliding_window = config_.sliding_window,
                       .split = split,
                       .sequences = sequences_,
                       .bias_query = config_.qkv_bias ? bias_query : Activations{},
                       .inverse_frequency = config_.inverse_frequency});
  if (!seals_.empty()) {
    backend_->Seal({.kv_heads = config_.kv_heads, .head_dim = config_.head_dim, .items = seals_});
  }
  if (!transforms_.empty()) {
    backend_->TransformOutput({.out = attended,
                               .heads = config_.heads,
                               .kv_heads = config_.kv_heads,
                               .head_dim = config_.head_dim,
                               .items = transforms_});
  }
  Observe(attended, observed_.attention_output);
  backend_->Linear({.x = attended,
                    .weight = w.attn_output.get(),
                    .y = hidden,
                    .split = split,
                    .accumulate = true});
}

void Transformer::Observe(Activations x, std::vector<float>& to) {
  if (!observe_) return;
  to.assign(static_cast<size_t>(x.rows) * x.cols, 0.0f);
  const absl::Status status = backend_->Synchronize();  // a lost device shows at the step's end
  if (!status.ok()) return;
  backend_->CopyToHost(to.data(), x.data, to.size() * sizeof(float));
}

void Transformer::TransformKv(const StepBatch& batch, Activations qkv, Activations bias_query) {
  const StoreKvArgs columns = StoreArgs(qkv);
  backend_->TransformKv({.qkv = qkv,
                         .k_first_col = columns.k_first_col,
                         .v_first_col = columns.v_first_col,
                         .heads = config_.heads,
                         .kv_heads = config_.kv_heads,
                         .head_dim = config_.head_dim,
                         .positions = batch.positions,
                         .inverse_frequency = config_.inverse_frequency,
                         .items = transforms_,
                         .bias_query = config_.qkv_bias ? bias_query : Activations{}});
}

StoreKvArgs Transformer::StoreArgs(Activations qkv) const {
  const int k_col = config_.heads * config_.head_dim;
  return {.qkv = qkv,
          .k_first_col = k_col,
          .v_first_col = k_col + config_.kv_heads * config_.head_dim,
          .kv_heads = config_.kv_heads,
          .head_dim = config_.head_dim,
          .items = stores_};
}

void Transformer::StoreKv(int layer, Activations qkv) {
  StoreKvArgs args = StoreArgs(qkv);
  backend_->StoreKv(args);
  if (!write_filter_) return;
  std::vector<float> host(static_cast<size_t>(qkv.rows) * qkv.cols);
  const absl::Status status = backend_->Synchronize();  // a lost device shows at the step's end
  if (!status.ok()) return;
  backend_->CopyToHost(host.data(), qkv.data, host.size() * sizeof(float));
  write_filter_(layer, host);
  backend_->CopyFromHost(qkv.data, host.data(), host.size() * sizeof(float));
  args.items = stores_after_filter_;
  backend_->StoreKv(args);
}

// The last hidden state of each prefilling sequence, gathered where the logits' rows were: the
// device is waited for once, not for each sequence.
absl::Status Transformer::CopyLastRows(const StepBatch& batch) {
  const std::span sequences = std::span(batch.sequences).subspan(batch.decode_rows);
  if (sequences.empty()) return absl::OkStatus();
  const size_t row_bytes = size_t(config_.hidden) * sizeof(float);
  if (!last_rows_ || last_rows_->bytes() < sequences.size() * row_bytes) {
    KVP_ASSIGN_OR_RETURN(last_rows_, backend_->AllocateOnHost(sequences.size() * row_bytes));
  }
  const Activations hidden = Matrix(hidden_offset_, batch.rows(), config_.hidden);
  std::array<int32_t, kLogitRows> last;
  for (size_t first = 0; first < sequences.size(); first += kLogitRows) {
    const size_t count = std::min<size_t>(kLogitRows, sequences.size() - first);
    for (size_t i = 0; i < count; ++i) {
      const SequenceStep& sequence = sequences[first + i];
      last[i] = sequence.first_row + sequence.num_rows - 1;
    }
    const Activations picked = Matrix(logit_rows_offset_, static_cast<int>(count), config_.hidden);
    backend_->GatherRows(hidden, {last.data(), count}, picked);
    backend_->CopyToHost(last_rows_->data() + first * row_bytes, picked.data, count * row_bytes);
  }
  return backend_->Synchronize();
}

void Transformer::FindNotFinite(const StepBatch& batch) {
  not_finite_.clear();
  for (size_t i = batch.decode_rows; i < batch.sequences.size(); ++i) {
    const size_t row = i - batch.decode_rows;
    const auto* values = reinterpret_cast<const float*>(last_rows_->data()) + row * config_.hidden;
    const bool finite =
        std::all_of(values, values + config_.hidden, [](float x) { return std::isfinite(x); });
    if (!finite) not_finite_.push_back(static_cast<int>(i));
  }
}

absl::Status Transformer::ComputeLogits(const StepBatch& batch, const LogitsFn& on_logits) {
  const Activations hidden = Matrix(hidden_offset_, batch.rows(), config_.hidden);
  const int total = static_cast<int>(batch.logit_rows.size());
  KVP_CHECK(batch.sampling.empty() || batch.sampling.size() == batch.logit_rows.size());
  sample_rows_.clear();
  sample_rows_.reserve(total);
  for (int first = 0; first < total; first += kLogitRows) {
    const int rows = std::min(kLogitRows, total - first);
    const Activations picked = Matrix(logit_rows_offset_, rows, config_.hidden);
    const Activations logits = Matrix(logits_offset_, rows, config_.vocab);
    backend_->GatherRows(hidden, {batch.logit_rows.data() + first, size_t(rows)}, picked);
    const RowSplit split = batch.scoring ? RowSplit{.decode_rows = 0, .prefill_rows = rows}
                                         : RowSplit{.decode_rows = rows, .prefill_rows = 0};
    backend_->Project(
        {.norm = Norm(picked, weights_.output_norm.get(), picked),
         .linear = {.x = picked, .weight = &weights_.head(), .y = logits, .split = split}});
    SampleLogits(batch, first, logits);
    KVP_RETURN_IF_ERROR(ShowLogits(batch, first, logits, on_logits));
  }
  return backend_->Synchronize();
}

// The entries [first, first + logits.rows) that say how.
void Transformer::SampleLogits(const StepBatch& batch, int first, Activations logits) {
  const size_t begin = sample_rows_.size();
  for (int row = 0; row < logits.rows && !batch.sampling.empty(); ++row) {
    if (!batch.sampling[first + row]) continue;
    sample_rows_.push_back(*batch.sampling[first + row]);
    sample_rows_.back().row = row;
  }
  if (sample_rows_.size() == begin) return;
  auto* tokens = reinterpret_cast<int32_t*>(host_tokens_->data()) + first;
  backend_->Sample({.logits = logits,
                    .rows = std::span(sample_rows_).subspan(begin),
                    .tokens = {tokens, size_t(logits.rows)}});
}

// The other entries' logits, in runs of neighbours.
absl::Status Transformer::ShowLogits(const StepBatch& batch, int first, Activations logits,
                                     const LogitsFn& on_logits) {
  const auto shown = [&](int row) {
    return batch.sampling.empty() || !batch.sampling[first + row];
  };
  const size_t row_bytes = size_t(config_.vocab) * sizeof(float);
  for (int row = 0, rows = 0; row < logits.rows; row += std::max(rows, 1)) {
    for (rows = 0; row + rows < logits.rows && shown(row + rows);) ++rows;
    if (rows == 0) continue;
    if (!host_logits_) {
      KVP_ASSIGN_OR_RETURN(host_logits_, backend_->AllocateOnHost(kLogitRows * row_bytes));
    }
    backend_->CopyToHost(host_logits_->data(), logits.data + row * row_bytes, rows * row_bytes);
    KVP_RETURN_IF_ERROR(backend_->Synchronize());
    on_logits(first + row, rows,
              {reinterpret_cast<float*>(host_logits_->data()), size_t(rows) * config_.vocab});
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
