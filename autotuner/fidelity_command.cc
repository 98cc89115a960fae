#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/fidelity_flags.h"
#include "autotuner/fidelity_report.h"
#include "autotuner/needle.h"
#include "autotuner/progress.h"
#include "autotuner/provenance.h"
#include "autotuner/sha256.h"

ABSL_DECLARE_FLAG(std::string, configs);
ABSL_FLAG(std::string, reference, "k=f32 v=f32 sink=0 recent=0",
          "fidelity: the cache that others are compared with");
ABSL_FLAG(std::vector<std::string>, buckets, (std::vector<std::string>{"2048", "4096", "8192"}),
          "fidelity: upper ends of the context buckets, ascending");
ABSL_FLAG(std::string, haystack, "",
          "fidelity: prose to hide needles in, for configs marked `needle`; empty: none");

namespace kvpareto::tune {
namespace {

absl::StatusOr<std::vector<int64_t>> Buckets() {
  std::vector<int64_t> buckets;
  for (const std::string& text : absl::GetFlag(FLAGS_buckets)) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < 1 ||
        (!buckets.empty() && value <= buckets.back())) {
      return absl::InvalidArgumentError("--buckets: ascending numbers of tokens, not \"" + text +
                                        "\"");
    }
    buckets.push_back(value);
  }
  return buckets;
}

// Answers counted before are taken from the journal.
absl::Status RunNeedles(Engine& engine, const std::vector<MeasuredConfig>& configs,
                        const std::string& calibration_digest, Journal& journal,
                        FidelityReport& report) {
  const std::string path = absl::GetFlag(FLAGS_haystack);
  if (path.empty()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(const std::string raw, ReadTextFile(path));
  const std::string haystack = JoinLines(raw);
  KVP_ASSIGN_OR_RETURN(const auto questions, MakeNeedles(engine, haystack, {}));
  report.needle_questions = static_cast<int>(questions.size());
  const int64_t asked =
      std::count_if(configs.begin(), configs.end(), [](const auto& c) { return c.needle; });
  Progress progress("needle configs", asked);
  for (const MeasuredConfig& measured : configs) {
    if (!measured.needle) continue;
    const std::string key =
        KeyOf({"needle", engine.model().fingerprint, engine.model().backend, Sha256Hex(haystack),
               measured.config.needs_calibration() ? calibration_digest : "", measured.Identity()});
    if (const auto* known = journal.Find(key); known != nullptr && known->size() == 1) {
      report.needles[measured.name] = static_cast<int>(known->front());
    } else {
      KVP_ASSIGN_OR_RETURN(const int answered, CountAnswered(engine, questions, measured));
      KVP_RETURN_IF_ERROR(journal.Append(key, {double(answered)}));
      report.needles[measured.name] = answered;
    }
    progress.Advance(1, measured.name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunFidelity(const std::string& command) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  FidelityReport report{.command = command, .tokens = TextTokens()};
  KVP_ASSIGN_OR_RETURN(report.options, FidelityOptionsFromFlags());
  KVP_ASSIGN_OR_RETURN(report.contexts, Buckets());
  KVP_ASSIGN_OR_RETURN(report.options.reference, KvConfig::Parse(absl::GetFlag(FLAGS_reference)));
  KVP_ASSIGN_OR_RETURN(const std::string list, ReadTextFile(absl::GetFlag(FLAGS_configs)));
  KVP_ASSIGN_OR_RETURN(const std::vector<MeasuredConfig> configs, ParseFidelityList(list));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenFidelityEngine());
  report.model = engine->model().config.name;
  report.machine = MachineText(engine->model(), absl::GetFlag(FLAGS_threads));
  KVP_ASSIGN_OR_RETURN(const std::vector<TokenizedText> texts, FidelityTexts(*engine));
  for (const MeasuredConfig& measured : configs) {
    KVP_RETURN_IF_ERROR(measured.config.ValidateFor(engine->model().config));
    KVP_ASSIGN_OR_RETURN(const double bits,
                         BitsOf(measured, engine->model().config, report.tokens));
    report.bits.push_back(bits);
  }
  KVP_ASSIGN_OR_RETURN(Journal journal, Journal::Open(out_path + ".journal"));
  KVP_ASSIGN_OR_RETURN(report.configs,
                       MeasureFidelity(*engine, texts, configs, report.options, journal));
  KVP_RETURN_IF_ERROR(
      RunNeedles(*engine, configs, report.options.calibration_digest, journal, report));
  std::cout << FidelityMarkdown(report);
  return WriteTextFile(out_path, FidelityJson(report));
}

}  // namespace kvpareto::tune
