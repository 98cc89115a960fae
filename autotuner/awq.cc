#include "autotuner/awq.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autotuner/awq_activations.h"
#include "autotuner/awq_checkpoint.h"
#include "autotuner/awq_observe.h"
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

class Quantizer {
 public:
  Quantizer(const AwqOptions& options, const ModelFiles& files, AwqCheckpoint& checkpoint)
      : options_(options), files_(files), checkpoint_(checkpoint) {}

  // Without samples nothing is observed.
  absl::Status Run(const std::vector<std::vector<int32_t>>& samples, AwqResult& result) {
    KVP_ASSIGN_OR_RETURN(streams_, EmbedSamples(files_, samples));
    const int layers = files_.config().layers;
    Progress progress("layers", layers);
    for (int layer = 0; layer < layers; ++layer) {
      KVP_RETURN_IF_ERROR(RunLayer(layer, result));
      progress.Advance(1, "quantizing");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status RunLayer(int index, AwqResult& result) {
    KVP_ASSIGN_OR_RETURN(AwqLayer layer, ReadAwqLayer(files_, index));
    AwqInputs inputs;
    if (!streams_.empty()) {
      KVP_ASSIGN_OR_RETURN(inputs, ObserveLayer(files_.config(), layer,
                                                {.search_samples = options_.search_samples,
                                                 .hessians = options_.rounding == Rounding::kGptq,
                                                 .threads = options_.threads},
                                                streams_));
    }
    if (options_.grid > 0) Scale(layer, inputs, result);
    KVP_ASSIGN_OR_RETURN(const AwqCodes codes, RoundLayer(layer, inputs,
                                                          {.rounding = options_.rounding,
                                                           .clip = options_.clip,
                                                           .group_size = options_.group_size,
                                                           .threads = options_.threads}));
    KVP_RETURN_IF_ERROR(checkpoint_.WriteLayer(layer, codes));
    for (int i = 0; i < kLinears; ++i) layer.linears[i] = DecodeGroups(codes[i]);
    for (Matrix& x : streams_) ApplyLayer(files_.config(), layer, options_.threads, x);
    return absl::OkStatus();
  }

  void Scale(AwqLayer& layer, AwqInputs& inputs, AwqResult& result) const {
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

  const AwqOptions& options_;
  const ModelFiles& files_;
  AwqCheckpoint& checkpoint_;
  // Of the samples, each [tokens, hidden], before the layer that is next, with the layers before it
  // as the checkpoint has them: so later layers make good what earlier ones lost.
  std::vector<Matrix> streams_;
};

// Samples are drawn with the engine's tokenizer; the walk through the model does without it.
absl::StatusOr<TextPieces> TokenizeSamples(const AwqOptions& options,
                                           const std::vector<NamedText>& texts) {
  EngineOptions engine_options;
  engine_options.model_path = options.model_path;
  engine_options.device = "cpu";
  engine_options.threads = options.threads;
  engine_options.max_running_sequences = 1;
  engine_options.max_sequences_per_request = 1;
  engine_options.kv_capacity_bytes = uint64_t{16} << 20;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  return DrawSamples(*engine, texts, options.samples, options.sample_tokens, options.seed);
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
  if (options.NeedsText()) {
    KVP_ASSIGN_OR_RETURN(text, TokenizeSamples(options, texts));
    result.text = text.description;
  }
  KVP_ASSIGN_OR_RETURN(PartialFolder folder, PartialFolder::Create(options.output_path));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<AwqCheckpoint> checkpoint,
                       AwqCheckpoint::Create(*files, options.group_size, folder.path()));
  KVP_RETURN_IF_ERROR(Quantizer(options, *files, *checkpoint).Run(text.pieces, result));
  KVP_RETURN_IF_ERROR(checkpoint->Finish());
  KVP_ASSIGN_OR_RETURN(const auto written, ModelFiles::Open(folder.path()));
  KVP_RETURN_IF_ERROR(folder.Keep());
  result.fingerprint = written->fingerprint();
  result.weights_bytes = checkpoint->weights_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace kvpareto::tune
