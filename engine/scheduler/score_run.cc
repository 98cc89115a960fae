#include "engine/scheduler/score_run.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

absl::Status OptionError(absl::string_view option, absl::string_view rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SCORE_OPTION_INVALID",
                   absl::StrCat(option, " ", rule), {{"option", std::string(option)}});
}

// The parts of `spans` at positions [from, to).
void AddBetween(const std::vector<BlockSpan>& spans, int64_t from, int64_t to,
                std::vector<BlockSpan>& out) {
  for (BlockSpan span : spans) {
    const int64_t begin = std::max<int64_t>(from, span.first_position);
    const int64_t end = std::min<int64_t>(to, span.first_position + span.num_tokens);
    if (begin >= end) continue;
    span.first_slot += static_cast<int>(begin - span.first_position);
    span.first_position = static_cast<int>(begin);
    span.num_tokens = static_cast<int>(end - begin);
    out.push_back(span);
  }
}

}  // namespace

ScoreRun::ScoreRun(const ScoreInput& input, std::shared_ptr<const CacheFormat> format,
                   std::shared_ptr<const CacheFormat> later_format, Transformer* transformer,
                   kv::Arena* arena)
    : input_(input),
      format_(std::move(format)),
      later_format_(std::move(later_format)),
      transformer_(transformer),
      arena_(arena) {}

// Encoded rows are floats that the codec made: they are kept as such, and nothing is sealed.
absl::Status ScoreRun::Prepare() {
  if (input_.options.logits_stride < 1) return OptionError("logits_stride", "is below 1");
  if (input_.options.max_decode_rows < 1 || input_.options.max_decode_rows > kMaxScoreDecodeRows) {
    return OptionError("max_decode_rows", absl::StrCat("is not in 1..", kMaxScoreDecodeRows));
  }
  if (!input_.options.encode_on_write) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(write_codec_, WriteCodec::Create(input_.config, transformer_->config(),
                                                        format_->transforms.get()));
  format_ = std::make_shared<const CacheFormat>(KvConfig::F32(), transformer_->config(),
                                                format_->transforms);
  return absl::OkStatus();
}

absl::Status ScoreRun::Run() {
  KVP_RETURN_IF_ERROR(Prepare());
  const int64_t total = input_.tokens.size();
  const int64_t from = input_.options.decode_from;
  // Steps of many decoded tokens hold no more than their last token would alone.
  const int64_t prompt_tokens = from < 0 ? total : std::min(from, total);
  size_t peak = kv::PredictPeakBytes(format_->footprint, prompt_tokens, total,
                                     input_.config.prefill_chunk_tokens);
  if (later_format_) {  // what it holds then, and what it seals from then on
    peak += kv::PredictPeakBytes(later_format_->footprint, prompt_tokens, total,
                                 input_.config.prefill_chunk_tokens);
  }
  if (HasExactWindow()) peak *= 2;
  if (!arena_->Reserve(peak)) {
    return MakeError(absl::StatusCode::kResourceExhausted, "KV_EXCEEDS_CAPACITY",
                     absl::StrCat("scoring needs ", peak, " bytes of KV memory"),
                     {{"needed_bytes", absl::StrCat(peak)}});
  }
  const absl::Status status = RunSteps();
  arena_->Unreserve(peak);
  return status;
}

absl::Status ScoreRun::RunSteps() {
  SequenceCache cache(format_, arena_);
  std::optional<SequenceCache> exact;  // the recent window of a cache that is encoded on write
  if (HasExactWindow()) exact.emplace(format_, arena_);
  const int64_t total = input_.tokens.size();
  while (cache.num_tokens() < total) {
    if (later_format_ && cache.num_tokens() >= input_.options.requantize_at) {
      KVP_RETURN_IF_ERROR(Requantize(cache));
    }
    KVP_RETURN_IF_ERROR(Step(cache, exact ? &*exact : nullptr));
  }
  return absl::OkStatus();
}

absl::Status ScoreRun::Requantize(SequenceCache& cache) {
  if (write_codec_ || !cache.CanSwitch(*later_format_)) {
    return OptionError("requantize_to", "does not continue the config in smaller blocks");
  }
  format_ = std::exchange(later_format_, nullptr);
  cache.Switch(format_);
  const std::vector<RequantizeItem> items = cache.NextChanges(std::numeric_limits<int>::max());
  transformer_->Requantize(items);
  cache.EndChanges(items.size());
  return absl::OkStatus();
}

bool ScoreRun::Decoding(int64_t position) const {
  return write_codec_ ||
         (input_.options.decode_from >= 0 && position >= input_.options.decode_from);
}

// A step of decoded tokens ends with the first one that seals a block: the next one reads it.
int ScoreRun::NextStepRows(int64_t position) const {
  const int64_t total = input_.tokens.size();
  const int64_t chunk = input_.config.prefill_chunk_tokens;
  const int64_t from = input_.options.decode_from;
  if (write_codec_) return static_cast<int>(std::min(chunk, total - position));
  if (!Decoding(position)) {
    return static_cast<int>(std::min(chunk, (from < 0 ? total : std::min(from, total)) - position));
  }
  const auto sealed = [&](int64_t tokens) {
    return kv::ResidencyAt(format_->footprint, tokens).sealed_blocks;
  };
  const int64_t end = later_format_ && position < input_.options.requantize_at
                          ? std::min(total, input_.options.requantize_at)
                          : total;
  const int64_t limit = std::min<int64_t>(input_.options.max_decode_rows, end - position);
  int rows = 1;
  while (rows < limit && sealed(position + rows) == sealed(position)) ++rows;
  return rows;
}

StepBatch ScoreRun::Batch(int64_t first, int rows) const {
  const ScoreOptions& options = input_.options;
  StepBatch batch;
  batch.scoring = !Decoding(first) || options.prefill_arithmetic;
  batch.decode_rows = batch.scoring ? 0 : rows;
  for (int i = 0; i < rows; ++i) {
    const int64_t position = first + i;
    batch.tokens.push_back(input_.tokens[position]);
    batch.positions.push_back(static_cast<int32_t>(position));
    const bool wanted = input_.on_logits && position >= options.logits_from &&
                        (position - options.logits_from) % options.logits_stride == 0;
    if (wanted) batch.logit_rows.push_back(i);
  }
  return batch;
}

// Each row is a sequence of its own that reads up to its own position; the first one stores for
// all, so that everything is there when any row reads, and seals for all, which happens last.
void ScoreRun::AddDecodeRows(const SequenceStep& step, const SequenceStep* exact,
                             StepBatch& batch) const {
  for (int i = 0; i < step.num_rows; ++i) {
    const int64_t end = step.first_position + i + 1;
    SequenceStep row{.first_row = i,
                     .num_rows = 1,
                     .first_position = step.first_position + i,
                     .transforms = step.transforms};
    const int64_t window = exact == nullptr ? 0 : input_.config.recent_tokens;
    AddBetween(step.reads, 0, end - window, row.reads);
    if (exact != nullptr) AddBetween(exact->reads, end - window, end, row.reads);
    if (i == 0 && write_codec_) {
      row.stores_after_filter = step.stores;
      if (exact != nullptr) row.stores = exact->stores;
    } else if (i == 0) {
      row.stores = step.stores;
      row.seals = step.seals;
    }
    batch.sequences.push_back(std::move(row));
  }
}

absl::Status ScoreRun::Step(SequenceCache& cache, SequenceCache* exact) {
  const int64_t first = cache.num_tokens();
  const int rows = NextStepRows(first);
  cache.Allocate(rows);
  if (exact != nullptr) exact->Allocate(rows);
  StepBatch batch = Batch(first, rows);
  int chunk_tile = 0;
  const auto next_tile = [&] { return transformer_->ChunkTile(chunk_tile++); };
  const SequenceStep step = cache.Describe(0, next_tile);
  // Without a window to the token, the causal mask alone tells what each row of a step reads.
  if (!Decoding(first) || (batch.scoring && exact == nullptr)) {
    SequenceStep whole = step;
    if (write_codec_) std::swap(whole.stores, whole.stores_after_filter);
    batch.sequences.push_back(std::move(whole));
  } else if (exact != nullptr) {
    const SequenceStep exact_step = exact->Describe(0, next_tile);
    AddDecodeRows(step, &exact_step, batch);
  } else {
    AddDecodeRows(step, nullptr, batch);
  }

  if (input_.observe) Observe(first, rows);
  if (write_codec_) {
    transformer_->SetWriteFilter(
        [&](int layer, std::span<float> qkv) { write_codec_->Apply(layer, first, qkv); });
  }
  const absl::Status status =
      transformer_->Forward(batch, [&](int row, int, std::span<float> logits) {
        input_.on_logits(first + batch.logit_rows[row], logits);
      });
  transformer_->SetObserver(nullptr);
  transformer_->SetWriteFilter(nullptr);
  cache.EndStep();
  if (exact != nullptr) exact->EndStep();
  return status;
}

// The observer gets queries, keys and values apart.
void ScoreRun::Observe(int64_t first_position, int rows) {
  const ModelConfig& model = transformer_->config();
  const size_t q_cols = size_t(model.heads) * model.head_dim;
  const size_t kv_cols = size_t(model.kv_heads) * model.head_dim;
  transformer_->SetObserver([=, this](int layer, const LayerActivations& seen) {
    std::vector<float> q, k, v;
    for (int row = 0; row < rows; ++row) {
      const float* from = seen.qkv.data() + row * (q_cols + 2 * kv_cols);
      q.insert(q.end(), from, from + q_cols);
      k.insert(k.end(), from + q_cols, from + q_cols + kv_cols);
      v.insert(v.end(), from + q_cols + kv_cols, from + q_cols + 2 * kv_cols);
    }
    input_.observe({.layer = layer,
                    .first_position = first_position,
                    .rows = rows,
                    .q = q,
                    .k = k,
                    .v = v,
                    .attention_input = seen.attention_input,
                    .attention_output = seen.attention_output,
                    .ffn_input = seen.ffn_input,
                    .ffn_product = seen.ffn_product});
  });
}

}  // namespace kvpareto
