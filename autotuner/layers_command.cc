#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/fidelity_flags.h"
#include "autotuner/layer_report.h"
#include "autotuner/provenance.h"

ABSL_DECLARE_FLAG(std::string, calibration);
ABSL_FLAG(std::string, base, "k=bf16 v=bf16 sink=16 recent=128",
          "layers: windows, chunk and transforms of the configs to find; its codecs mean nothing");
ABSL_FLAG(std::vector<std::string>, k_codecs,
          (std::vector<std::string>{"int2-channel", "int3-channel", "int4-channel",
                                    "int8-channel"}),
          "layers: candidates for keys, from the fewest bits up; bf16 may be the last");
ABSL_FLAG(std::vector<std::string>, v_codecs,
          (std::vector<std::string>{"int2-token", "int3-token", "int4-token", "int8-token"}),
          "layers: candidates for values, from the fewest bits up");
ABSL_FLAG(std::vector<std::string>, targets, (std::vector<std::string>{"3.9", "2.9"}),
          "layers: effective bits per element not to be exceeded");
ABSL_FLAG(int64_t, bits_tokens, 8192, "layers: the length at which bits are counted");
ABSL_FLAG(bool, escalate, true,
          "layers: the first and the last layer and those with a large key bias start one up");
ABSL_FLAG(std::string, name, "map", "layers: what the names of the configs begin with");

namespace kvpareto::tune {
namespace {

absl::StatusOr<std::vector<kv::CodecId>> Codecs(const std::vector<std::string>& names) {
  std::vector<kv::CodecId> codecs;
  for (const std::string& name : names) {
    const auto codec = kv::FindCodec(name);
    if (!codec) return absl::InvalidArgumentError("there is no codec \"" + name + "\"");
    codecs.push_back(*codec);
  }
  return codecs;
}

// Layers whose key bias the calibration removes.
absl::StatusOr<std::vector<int>> BiasLayers(const ModelInfo& model) {
  std::vector<int> layers;
  const std::string path = absl::GetFlag(FLAGS_calibration);
  if (path.empty()) return layers;
  KVP_ASSIGN_OR_RETURN(const Calibration calibration,
                       LoadCalibration(path, model.config, model.fingerprint));
  const Calibration::Tensor* bias = calibration.Find("key_bias");
  if (bias == nullptr) return layers;
  const auto size = static_cast<std::ptrdiff_t>(bias->values.size() / model.config.layers);
  for (int layer = 0; layer < model.config.layers; ++layer) {
    const auto begin = bias->values.begin() + layer * size;
    if (std::any_of(begin, begin + size, [](float b) { return b != 0.0f; })) {
      layers.push_back(layer);
    }
  }
  return layers;
}

absl::StatusOr<LayerSearchOptions> OptionsFor(const ModelInfo& model) {
  LayerSearchOptions options;
  options.tokens = absl::GetFlag(FLAGS_bits_tokens);
  KVP_ASSIGN_OR_RETURN(options.base, KvConfig::Parse(absl::GetFlag(FLAGS_base)));
  KVP_ASSIGN_OR_RETURN(options.k_codecs, Codecs(absl::GetFlag(FLAGS_k_codecs)));
  KVP_ASSIGN_OR_RETURN(options.v_codecs, Codecs(absl::GetFlag(FLAGS_v_codecs)));
  for (const std::string& text : absl::GetFlag(FLAGS_targets)) {
    double bits = 0.0;
    if (!absl::SimpleAtod(text, &bits)) {
      return absl::InvalidArgumentError("--targets: \"" + text + "\" is not a number");
    }
    options.target_bits.push_back(bits);
  }
  if (absl::GetFlag(FLAGS_escalate)) {
    KVP_ASSIGN_OR_RETURN(options.escalated, BiasLayers(model));
    options.escalated.insert(options.escalated.end(), {0, model.config.layers - 1});
  }
  KVP_RETURN_IF_ERROR(options.Validate(model.config));
  return options;
}

}  // namespace

absl::Status RunLayers(const std::string& command) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  LayerReport report{
      .command = command, .text_tokens = TextTokens(), .name = absl::GetFlag(FLAGS_name)};
  KVP_ASSIGN_OR_RETURN(report.fidelity, FidelityOptionsFromFlags());
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenFidelityEngine());
  const ModelConfig& model = engine->model().config;
  report.model = model.name;
  report.machine = MachineText(engine->model(), absl::GetFlag(FLAGS_threads));
  report.layers = model.layers;
  KVP_ASSIGN_OR_RETURN(report.search, OptionsFor(engine->model()));
  report.fidelity.reference = LayerSearchReference(report.search.base);
  KVP_ASSIGN_OR_RETURN(const std::vector<TokenizedText> texts, FidelityTexts(*engine));
  for (const TokenizedText& text : texts) report.texts.push_back(text.name);
  KVP_ASSIGN_OR_RETURN(Journal journal, Journal::Open(out_path + ".journal"));
  const auto measure = [&](const std::vector<MeasuredConfig>& configs,
                           std::vector<double>& kl) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(const std::vector<ConfigFidelity> results,
                         MeasureFidelity(*engine, texts, configs, report.fidelity, journal));
    for (const ConfigFidelity& result : results) kl.push_back(MeanKl(result));
    return absl::OkStatus();
  };
  KVP_RETURN_IF_ERROR(measure(ControlConfigs(report.search, model), report.control));
  KVP_RETURN_IF_ERROR(measure(SensitivityConfigs(report.search, model), report.kl));
  report.maps =
      SearchLayerMaps(report.search, model, EffectsOf(report.search, report.kl, report.control));
  const std::string list = LayersList(report);
  std::cout << list;
  KVP_RETURN_IF_ERROR(WriteTextFile(out_path + ".json", LayersJson(report)));
  return WriteTextFile(out_path, list);
}

}  // namespace kvpareto::tune
