#include "autotuner/awq.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autotuner/awq_checkpoint.h"
#include "autotuner/awq_clip.h"
#include "autotuner/awq_module.h"
#include "autotuner/awq_observe.h"
#include "autotuner/awq_residual.h"
#include "autotuner/awq_scales.h"
#include "autotuner/progress.h"
#include "engine/model_files.h"

namespace kvpareto::tune {
namespace {

namespace fs = std::filesystem;

absl::Status OptionError(const char* option, const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID",
                   absl::StrCat(option, " ", rule), {{"option", option}});
}

// The folder in which a checkpoint grows; gone again unless it is kept.
class PartialFolder {
 public:
  static absl::StatusOr<PartialFolder> Create(std::string path) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    std::error_code error;
    if (fs::exists(path, error)) {
      return MakeError(absl::StatusCode::kAlreadyExists, "OUTPUT_EXISTS", path + " exists already",
                       {{"path", path}});
    }
    PartialFolder folder(path);
    fs::remove_all(folder.partial_, error);  // of a run that was killed
    if (fs::create_directories(folder.partial_, error); !error) return folder;
    return folder.NotWritable(error);
  }
  PartialFolder(PartialFolder&& other) noexcept
      : path_(std::move(other.path_)), partial_(std::exchange(other.partial_, {})) {}
  ~PartialFolder() {
    std::error_code ignored;
    if (!partial_.empty()) fs::remove_all(partial_, ignored);
  }

  const std::string& path() const { return partial_; }

  absl::Status Keep() {
    std::error_code error;
    fs::rename(partial_, path_, error);
    if (error) return NotWritable(error);
    partial_.clear();
    return absl::OkStatus();
  }

 private:
  explicit PartialFolder(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}

  absl::Status NotWritable(const std::error_code& error) const {
    return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE",
                     absl::StrCat("cannot write ", path_, ": ", error.message()),
                     {{"path", path_}});
  }

  std::string path_, partial_;
};

// KV memory for one sample, open blocks included.
uint64_t CacheBytes(const ModelConfig& config, int sample_tokens) {
  const uint64_t token_bytes = uint64_t{4} * config.layers * config.kv_heads * config.head_dim;
  return std::max<uint64_t>(uint64_t{16} << 20, token_bytes * (sample_tokens + 256));
}

// Floats that a layer's inputs are, per token.
uint64_t InputBytes(const ModelConfig& config) {
  return sizeof(float) *
         (uint64_t{2} * config.hidden + uint64_t{1} * config.heads * config.head_dim + config.ffn);
}

class Quantizer {
 public:
  Quantizer(const AwqOptions& options, const ModelFiles& files, Engine* engine,
            AwqCheckpoint& checkpoint)
      : options_(options), files_(files), engine_(engine), checkpoint_(checkpoint) {}

  absl::Status Run(const TextPieces& text, AwqResult& result) {
    const int layers = files_.config().layers;
    if (engine_ != nullptr) {
      Progress progress("tokens", text.tokens);
      KVP_ASSIGN_OR_RETURN(means_, ObserveMeans(*engine_, text.pieces, progress));
    }
    std::vector<std::vector<int32_t>> samples = text.pieces;
    samples.resize(std::min<size_t>(samples.size(), options_.search_samples));
    if (options_.grid > 0) {
      KVP_ASSIGN_OR_RETURN(residual_, AwqResidual::Embed(files_, samples));
    }
    const int at_once = LayersAtOnce(samples);
    Progress progress("layers", layers);
    for (int first = 0; first < layers; first += at_once) {
      const int last = std::min(layers, first + at_once);
      std::vector<AwqInputs> inputs(last - first);
      if (engine_ != nullptr) {
        KVP_ASSIGN_OR_RETURN(inputs, ObserveRows(*engine_, samples, first, last));
      }
      for (int layer = first; layer < last; ++layer) {
        KVP_RETURN_IF_ERROR(RunLayer(layer, std::move(inputs[layer - first]), result));
        progress.Advance(1, "quantizing");
      }
    }
    return absl::OkStatus();
  }

 private:
  int LayersAtOnce(const std::vector<std::vector<int32_t>>& samples) const {
    uint64_t tokens = 1;
    for (const auto& sample : samples) tokens += sample.size();
    const uint64_t fit = options_.activation_bytes / (tokens * InputBytes(files_.config()));
    return static_cast<int>(std::clamp<uint64_t>(fit, 1, files_.config().layers));
  }

  absl::Status RunLayer(int index, AwqInputs inputs, AwqResult& result) {
    KVP_ASSIGN_OR_RETURN(AwqLayer layer, ReadAwqLayer(files_, index));
    if (options_.grid > 0) Scale(layer, inputs, result);
    if (options_.clip) ClipValues(inputs, layer);
    return checkpoint_.WriteLayer(layer);
  }

  void Scale(AwqLayer& layer, AwqInputs& inputs, AwqResult& result) {
    const auto output_of = [&](Linear linear) {
      const PackedRows x(inputs[InputOf(linear)].view());
      return LinearOutput(x, layer[linear], options_.threads);
    };
    residual_->Add(output_of(Linear::kOutput));
    inputs.attention_weights = residual_->Weights();
    residual_->Add(output_of(Linear::kDown));
    inputs.ffn_weights = residual_->Weights();
    inputs.mean_magnitude = means_[layer.index];
    const std::vector<AwqScales> found = SearchScales(
        files_.config(), layer, inputs, {options_.group_size, options_.grid, options_.threads});
    for (const AwqScales& scales : found) {
      ApplyScales(scales, layer, inputs);
      result.searched.push_back({.layer = layer.index,
                                 .input = std::string(LayerInputName(scales.input)),
                                 .ratio = scales.ratio,
                                 .error = scales.error,
                                 .rounding_error = scales.rounding_error});
    }
  }

  // Clips of other layers save square error and lose likelihood (docs/awq.md).
  void ClipValues(const AwqInputs& inputs, AwqLayer& layer) const {
    const MatrixView x = inputs[LayerInput::kAttention].view();
    const AttentionModule attention{&files_.config(), inputs.sample_rows, options_.threads};
    ClipGroups(x, attention.Received(PackedRows(x), layer), options_.group_size, options_.threads,
               layer[Linear::kValue]);
  }

  const AwqOptions& options_;
  const ModelFiles& files_;
  Engine* const engine_;  // null: nothing is observed, weights are rounded as they are
  AwqCheckpoint& checkpoint_;
  std::vector<MeanMagnitudes> means_;
  std::optional<AwqResidual> residual_;  // before the layer that is next
};

absl::StatusOr<std::unique_ptr<Engine>> CreateEngine(const AwqOptions& options,
                                                     const ModelConfig& config) {
  EngineOptions engine;
  engine.model_path = options.model_path;
  engine.device = options.device;
  engine.threads = options.threads;
  engine.max_running_sequences = 1;
  engine.max_sequences_per_request = 1;
  engine.kv_capacity_bytes = CacheBytes(config, options.sample_tokens);
  return Engine::Create(engine);
}

}  // namespace

absl::Status AwqOptions::Validate() const {
  if (model_path.empty()) return OptionError("model_path", "is empty");
  if (output_path.empty()) return OptionError("output_path", "is empty");
  if (group_size != 32 && group_size != 64 && group_size != 128) {
    return OptionError("group_size", "must be 32, 64 or 128");
  }
  if (samples < 1) return OptionError("samples", "must be at least 1");
  if (sample_tokens < 16 || sample_tokens > 65536) {
    return OptionError("sample_tokens", "must be between 16 and 65536");
  }
  if (search_samples < 1) return OptionError("search_samples", "must be at least 1");
  if (grid < 0 || grid > 1000) return OptionError("grid", "must be between 0 and 1000");
  if (threads < 0 || threads > 1024) return OptionError("threads", "must be between 0 and 1024");
  return absl::OkStatus();
}

absl::StatusOr<AwqResult> QuantizeAwq(const AwqOptions& options,
                                      const std::vector<NamedText>& texts) {
  const auto start = std::chrono::steady_clock::now();
  KVP_RETURN_IF_ERROR(options.Validate());
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<ModelFiles> files,
                       ModelFiles::Open(options.model_path));
  KVP_RETURN_IF_ERROR(CheckGroupSize(*files, options.group_size));
  if (options.sample_tokens > files->config().context_tokens) {
    return OptionError("sample_tokens", "exceeds the model's context");
  }
  AwqResult result;
  TextPieces text;
  std::unique_ptr<Engine> engine;
  if (options.grid > 0 || options.clip) {
    KVP_ASSIGN_OR_RETURN(engine, CreateEngine(options, files->config()));
    KVP_ASSIGN_OR_RETURN(
        text, DrawSamples(*engine, texts, options.samples, options.sample_tokens, options.seed));
    result.text = text.description;
  }
  KVP_ASSIGN_OR_RETURN(PartialFolder folder, PartialFolder::Create(options.output_path));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<AwqCheckpoint> checkpoint,
                       AwqCheckpoint::Create(*files, options.group_size, folder.path()));
  KVP_RETURN_IF_ERROR(Quantizer(options, *files, engine.get(), *checkpoint).Run(text, result));
  KVP_RETURN_IF_ERROR(checkpoint->Finish());
  KVP_ASSIGN_OR_RETURN(const auto written, ModelFiles::Open(folder.path()));
  KVP_RETURN_IF_ERROR(folder.Keep());
  result.fingerprint = written->fingerprint();
  result.weights_bytes = checkpoint->weights_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace kvpareto::tune
