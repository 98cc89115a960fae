#include "engine/engine.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "engine/backend_factory.h"
#include "engine/base/check.h"
#include "engine/engine_options.h"
#include "engine/kv/arena.h"
#include "engine/model/kv_transforms.h"
#include "engine/model/model_source.h"
#include "engine/model/transformer.h"
#include "engine/preparer.h"
#include "engine/scheduler/scheduler.h"
#include "engine/self_test.h"
#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

// Of a device's memory, beside weights, workspace, scratch and arena: the driver's own needs for
// kernels, graphs and libraries that start late.
constexpr uint64_t kDeviceReserveBytes = uint64_t{256} << 20;

ScratchLimits ScratchLimitsOf(const ModelConfig& model, const StepLimits& limits) {
  return {.max_decode_rows = limits.max_decode_rows,
          .max_prefill_rows = limits.max_prefill_rows,
          .max_cols = std::max({model.hidden, model.ffn, model.heads * model.head_dim}),
          .heads = model.heads,
          .kv_heads = model.kv_heads,
          .head_dim = model.head_dim,
          .context_tokens = static_cast<int>(model.context_tokens),
          .key_bias = model.qkv_bias};
}

// Without a table: the bf16 cache for everyone.
ParetoTable Bf16Table(const ModelConfig& model, const std::string& fingerprint,
                      int max_step_tokens) {
  const int chunk = std::min(512, max_step_tokens / kv::kBlockTokens * kv::kBlockTokens);
  ParetoRow row{.name = "bf16", .config = KvConfig::Bf16(chunk)};
  row.accuracy.push_back({.max_context_tokens = model.context_tokens});
  ParetoTable table{.model_name = model.name, .model_fingerprint = fingerprint};
  table.provenance.command = "built in: no table was configured";
  table.rows.push_back(std::move(row));
  return table;
}

class EngineImpl final : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        const EngineHooks& hooks) {
    std::unique_ptr<EngineImpl> engine(new EngineImpl(options));
    KVP_RETURN_IF_ERROR(engine->Load(hooks));
    return engine;
  }

  absl::StatusOr<Prepared> Prepare(Request request) const override {
    KVP_ASSIGN_OR_RETURN(Prepared prepared, preparer_.Prepare(std::move(request)));
    KVP_RETURN_IF_ERROR(CheckCalibrated(prepared.plan.config));
    KVP_RETURN_IF_ERROR(transforms_->Prepare(prepared.plan.config.transforms));
    return prepared;
  }
  absl::StatusOr<RequestHandle> Submit(Prepared prepared,
                                       std::shared_ptr<ResponseSink> sink) override {
    return scheduler_->Submit(std::move(prepared), std::move(sink));
  }
  void Cancel(RequestHandle handle) override { scheduler_->Cancel(handle); }
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const override {
    return preparer_.Tokenize(prompt);
  }
  std::string Detokenize(std::span<const int32_t> tokens) const override {
    return MakeValidUtf8(tokenizer_->Decode(tokens, /*with_special=*/true));
  }
  absl::Status Score(std::span<const int32_t> tokens, const KvConfig& config,
                     const ScoreOptions& options, const LogitsFn& on_logits) override;
  absl::Status Observe(std::span<const int32_t> tokens, const ObserveFn& observe) override;
  absl::Status VisitAttentionWeights(const AttentionWeightsFn& visit) const override;
  void Drain(std::chrono::steady_clock::time_point deadline) override {
    scheduler_->Drain(deadline);
  }
  absl::Status CheckSlo(const ModelSlo& slo) const override {
    return kvpareto::CheckSlo(slo, table_, arena_memory_->bytes());
  }
  void SetSlo(const ModelSlo& slo) override {
    scheduler_->SetSlo(std::make_shared<const ModelSlo>(slo));
  }
  EngineStats Stats() const override;
  const ModelInfo& model() const override { return info_; }
  const ParetoTable& table() const override { return table_; }
  uint64_t WorkspaceBytes(int chunk_tokens) const override {
    return Transformer::WorkspaceShareBytes(info_.config, chunk_tokens,
                                            backend_->activation_bytes());
  }

 private:
  explicit EngineImpl(const EngineOptions& options) : options_(options) {}

  absl::Status Load(const EngineHooks& hooks);
  absl::Status RefuseBrokenRows();
  absl::Status LoadText(const ModelSource& source);
  absl::Status LoadCalibrationAndTable();
  absl::Status CheckArenaFits() const;
  absl::Status CheckCalibrated(const KvConfig& config) const;
  absl::Status CheckScoreTokens(std::span<const int32_t> tokens) const;

  const EngineOptions options_;
  ModelInfo info_;
  ParetoTable table_;
  std::optional<Calibration> calibration_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  absl::Status chat_template_status_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<TransformCache> transforms_;
  std::unique_ptr<DeviceBuffer> arena_memory_;
  std::unique_ptr<kv::Arena> arena_;
  Preparer preparer_;
  std::unique_ptr<Scheduler> scheduler_;  // last: its thread uses all of the above
};

absl::Status EngineImpl::LoadText(const ModelSource& source) {
  KVP_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Create(source.tokenizer()));
  if (source.chat_template().empty()) return absl::OkStatus();
  // A template that is not understood does not stop the model from completing plain text.
  auto parsed = ChatTemplate::Parse(source.chat_template());
  if (parsed.ok()) {
    chat_template_ = *std::move(parsed);
  } else {
    chat_template_status_ = parsed.status();
  }
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckCalibrated(const KvConfig& config) const {
  const TransformSpec spec{.transforms = config.transforms,
                           .codecs = config.PerLayer(info_.config.layers)};
  return kvpareto::CheckCalibrated(spec, calibration_ ? &*calibration_ : nullptr);
}

absl::Status EngineImpl::LoadCalibrationAndTable() {
  if (!options_.calibration_path.empty()) {
    KVP_ASSIGN_OR_RETURN(
        calibration_, LoadCalibration(options_.calibration_path, info_.config, info_.fingerprint));
  }
  if (options_.table_path.empty()) {
    table_ = Bf16Table(info_.config, info_.fingerprint, options_.max_step_tokens);
  } else {
    KVP_ASSIGN_OR_RETURN(table_, LoadParetoTable(options_.table_path));
  }
  KVP_RETURN_IF_ERROR(CheckTableForModel(table_, info_.config, info_.fingerprint));
  for (const ParetoRow& row : table_.rows) {
    KVP_RETURN_IF_ERROR(CheckCalibrated(row.config));
    if (row.config.prefill_chunk_tokens > options_.max_step_tokens) {
      return EngineOptionError(
          "max_step_tokens",
          absl::StrCat("is ", options_.max_step_tokens, ", below the prefill chunk of ",
                       row.config.prefill_chunk_tokens, " tokens in table row ", row.name));
    }
  }
  return absl::OkStatus();
}

// Says what the device's memory went to where the arena does not fit beside it.
absl::Status EngineImpl::CheckArenaFits() const {
  const std::optional<DeviceMemoryInfo> memory = backend_->DeviceMemory();
  const uint64_t needed = options_.kv_capacity_bytes + kDeviceReserveBytes;
  if (!memory || needed <= memory->free_bytes) return absl::OkStatus();
  const uint64_t most =
      memory->free_bytes > kDeviceReserveBytes ? memory->free_bytes - kDeviceReserveBytes : 0;
  return MakeError(
      absl::StatusCode::kResourceExhausted, "DEVICE_MEMORY",
      absl::StrCat("kv_capacity_bytes is ", options_.kv_capacity_bytes, ", but at most ", most,
                   " fit: of the device's ", memory->total_bytes, " bytes ", memory->free_bytes,
                   " are free beside weights of ", info_.weights_bytes, ", a workspace of ",
                   transformer_->workspace_bytes(), " and scratch of ", backend_->scratch_bytes(),
                   ", and ", kDeviceReserveBytes, " are kept for the driver"),
      {{"largest_capacity_bytes", absl::StrCat(most)}});
}

// Errors: INTERNAL (SELF_TEST_FAILED) when no row of the table is left.
absl::Status EngineImpl::RefuseBrokenRows() {
  const auto score = [this](std::span<const int32_t> tokens, const KvConfig& config,
                            const ScoreOptions& options, const LogitsFn& on_logits) {
    return Score(tokens, config, options, on_logits);
  };
  info_.refused_rows = SelfTest(table_, info_.config, score);
  for (const RefusedRow& refused : info_.refused_rows) {
    std::erase_if(table_.rows, [&](const ParetoRow& row) { return row.name == refused.name; });
  }
  if (!table_.rows.empty()) return absl::OkStatus();
  const RefusedRow& first = info_.refused_rows.front();
  return MakeError(absl::StatusCode::kInternal, "SELF_TEST_FAILED",
                   absl::StrCat("no row of the Pareto table passes the self-test: ", first.name,
                                ": ", first.why));
}

absl::Status EngineImpl::Load(const EngineHooks& hooks) {
  const auto start = Clock::now();
  KVP_ASSIGN_OR_RETURN(std::unique_ptr<ModelSource> source, OpenModel(options_.model_path));
  info_.config = source->config();
  info_.fingerprint = source->fingerprint();
  info_.file_bytes = source->file_bytes();
  KVP_RETURN_IF_ERROR(LoadText(*source));
  info_.has_chat_template = chat_template_ != nullptr;
  KVP_RETURN_IF_ERROR(LoadCalibrationAndTable());

  KVP_ASSIGN_OR_RETURN(CreatedBackend created, CreateBackend(options_));
  backend_ = hooks.wrap_backend ? hooks.wrap_backend(std::move(created.backend))
                                : std::move(created.backend);
  info_.device_note = std::move(created.note);
  info_.backend = std::string(backend_->name());
  KVP_ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(*source, *backend_));
  info_.weights_bytes = weights.resident_bytes();
  transforms_ = std::make_unique<TransformCache>(
      info_.config, calibration_ ? &*calibration_ : nullptr, backend_.get());
  for (const ParetoRow& row : table_.rows) {  // a matrix that is no good stops the start
    KVP_RETURN_IF_ERROR(transforms_->Prepare(row.config.transforms));
  }
  const StepLimits limits{.max_decode_rows = options_.max_running_sequences,
                          .max_prefill_rows = options_.max_step_tokens};
  KVP_ASSIGN_OR_RETURN(
      transformer_, Transformer::Create(info_.config, std::move(weights), limits, backend_.get()));
  KVP_RETURN_IF_ERROR(backend_->ReserveScratch(ScratchLimitsOf(info_.config, limits)));
  KVP_RETURN_IF_ERROR(CheckArenaFits());

  const size_t capacity = options_.kv_capacity_bytes / kv::kRegionAlignment * kv::kRegionAlignment;
  KVP_ASSIGN_OR_RETURN(arena_memory_, backend_->Allocate(capacity));
  arena_ = std::make_unique<kv::Arena>(arena_memory_->data(), capacity,
                                       [this](std::byte* to, const std::byte* from, size_t bytes) {
                                         backend_->Move(to, from, bytes);
                                       });
  const SchedulerOptions scheduling{.max_prefill_rows = options_.max_step_tokens,
                                    .max_running_sequences = options_.max_running_sequences,
                                    .max_queued_requests = options_.max_queued_requests,
                                    .prefix_cache_bytes = options_.prefix_cache_bytes};
  scheduler_ = std::make_unique<Scheduler>(scheduling, transformer_.get(), tokenizer_.get(),
                                           arena_.get(), transforms_.get());
  preparer_ = {.options = &options_,
               .model = &info_.config,
               .tokenizer = tokenizer_.get(),
               .chat_template = chat_template_.get(),
               .chat_template_status = &chat_template_status_,
               .planner = {.table = &table_,
                           .model = &info_.config,
                           .workspace = [this](int chunk) { return WorkspaceBytes(chunk); }},
               .admission = [this] { return scheduler_->admission(); }};
  if (options_.self_test) KVP_RETURN_IF_ERROR(RefuseBrokenRows());
  info_.load_seconds = Seconds(Clock::now() - start);
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckScoreTokens(std::span<const int32_t> tokens) const {
  if (!tokens.empty() && tokens.size() <= static_cast<size_t>(info_.config.context_tokens)) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "PROMPT_TOO_LONG",
                   absl::StrCat("scoring takes 1 to ", info_.config.context_tokens, " tokens, not ",
                                tokens.size()));
}

absl::Status EngineImpl::Score(std::span<const int32_t> tokens, const KvConfig& config,
                               const ScoreOptions& options, const LogitsFn& on_logits) {
  KVP_RETURN_IF_ERROR(config.ValidateFor(info_.config));
  KVP_RETURN_IF_ERROR(CheckCalibrated(config));
  if (config.prefill_chunk_tokens > options_.max_step_tokens) {
    return EngineOptionError("max_step_tokens", "is below the config's prefill chunk");
  }
  KVP_RETURN_IF_ERROR(CheckScoreTokens(tokens));
  if (options.requantize_at >= 0) {
    KVP_RETURN_IF_ERROR(options.requantize_to.ValidateFor(info_.config));
    KVP_RETURN_IF_ERROR(CheckCalibrated(options.requantize_to));
    KVP_RETURN_IF_ERROR(transforms_->Prepare(options.requantize_to.transforms));
  }
  KVP_RETURN_IF_ERROR(transforms_->Prepare(config.transforms));
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> checked,
                       preparer_.Tokenize(std::vector<int32_t>(tokens.begin(), tokens.end())));
  return scheduler_->Score(std::move(checked), config, options, on_logits);
}

EngineStats EngineImpl::Stats() const {
  EngineStats stats = scheduler_->Stats();
  if (const auto memory = backend_->DeviceMemory()) {
    stats.scratch_bytes = backend_->scratch_bytes();
    stats.device_free_bytes = memory->free_bytes;
    stats.device_used_bytes = memory->total_bytes - memory->free_bytes;
  }
  return stats;
}

absl::Status EngineImpl::Observe(std::span<const int32_t> tokens, const ObserveFn& observe) {
  KVP_RETURN_IF_ERROR(CheckScoreTokens(tokens));
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> checked,
                       preparer_.Tokenize(std::vector<int32_t>(tokens.begin(), tokens.end())));
  const KvConfig config =
      KvConfig::Bf16(std::min(512, options_.max_step_tokens / kv::kBlockTokens * kv::kBlockTokens));
  return scheduler_->Observe(std::move(checked), config, observe);
}

absl::Status EngineImpl::VisitAttentionWeights(const AttentionWeightsFn& visit) const {
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source, OpenModel(options_.model_path));
  for (int layer = 0; layer < info_.config.layers; ++layer) {
    KVP_ASSIGN_OR_RETURN(const std::vector<float> bias, ReadKeyBias(*source, layer));
    KVP_ASSIGN_OR_RETURN(const std::vector<float> output, ReadOutputProjection(*source, layer));
    visit({.layer = layer, .key_bias = bias, .output_projection = output});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       const EngineHooks& hooks) {
  KVP_RETURN_IF_ERROR(options.Validate());
  return EngineImpl::Create(options, hooks);
}

}  // namespace kvpareto
