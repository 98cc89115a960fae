#include "autotuner/run_tune.h"

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <utility>

#include "autotuner/provenance.h"
#include "autotuner/report/report_page.h"
#include "autotuner/search.h"
#include "autotuner/search_plan.h"
#include "autotuner/sha256.h"
#include "autotuner/table_rows.h"
#include "autotuner/text_file.h"
#include "autotuner/tune_calibration.h"
#include "autotuner/tune_results.h"
#include "autotuner/tune_weights.h"

namespace kvpareto::tune {
namespace {

namespace fs = std::filesystem;

// "austen.txt (sha256 ...), ...".
absl::StatusOr<std::string> DescribeTexts(const TextSpec& text) {
  std::string names;
  for (const std::string& path : text.files) {
    KVP_ASSIGN_OR_RETURN(const std::string content, ReadTextFile(path));
    names += fs::path(path).filename().string() + " (sha256 " + Sha256Hex(content) + "), ";
  }
  const std::string counted = text.accuracy.decode_tokens > 0
                                  ? "the last " + std::to_string(text.accuracy.decode_tokens) +
                                        " tokens of each context, decoded"
                                  : "prefill chunks";
  return names + std::to_string(text.windows) + " windows of " +
         std::to_string(text.accuracy.contexts.back()) + " tokens, counted in " + counted;
}

// Of the run's first beginning, so that a run that goes on writes the same table.
absl::StatusOr<std::string> DateOf(const std::string& spec_digest, Journal& journal) {
  const std::string key = KeyOf({"date", spec_digest});
  std::string today = Today();
  if (const auto* known = journal.Find(key); known != nullptr && known->size() == 3) {
    char text[32];
    std::snprintf(text, sizeof text, "%04.0f-%02.0f-%02.0f", (*known)[0], (*known)[1], (*known)[2]);
    return std::string(text);
  }
  int year = 0, month = 0, day = 0;
  std::sscanf(today.c_str(), "%d-%d-%d", &year, &month, &day);
  KVP_RETURN_IF_ERROR(journal.Append(key, {double(year), double(month), double(day)}, "date"));
  return today;
}

// The configs that the model and its calibration allow; with `to_be_calibrated` there will be one.
std::vector<Trial> UsableTrials(const std::vector<SpaceConfig>& configs, TrialBench& bench,
                                bool to_be_calibrated) {
  const ModelConfig& model = bench.engine().model().config;
  std::vector<Trial> trials;
  for (const SpaceConfig& config : configs) {
    const KvConfig& kv = config.named.config;
    const TransformSpec transforms = {.transforms = kv.transforms,
                                      .codecs = kv.PerLayer(model.layers)};
    const bool calibrated =
        to_be_calibrated || CheckCalibrated(transforms, bench.calibration()).ok();
    if (kv.ValidateFor(model).ok() && calibrated) {
      trials.push_back({.config = config});
    } else {
      std::fprintf(stderr, "%s: not possible with this model%s, left out\n",
                   config.named.name.c_str(),
                   bench.calibration() == nullptr ? " without a calibration" : "");
    }
  }
  return trials;
}

class Run {
 public:
  Run(const TuneSpec& spec, const StopCheck& stop, const RunTuneOptions& options, Journal& journal)
      : spec_(spec), stop_(stop), options_(options), journal_(journal) {}

  absl::Status All() {
    KVP_ASSIGN_OR_RETURN(const std::string yaml, ReadTextFile(spec_.file_name));
    results_.spec_digest = Sha256Hex(yaml);
    results_.command = options_.command;
    KVP_ASSIGN_OR_RETURN(results_.date, DateOf(results_.spec_digest, journal_));
    KVP_ASSIGN_OR_RETURN(results_.text, DescribeTexts(spec_.text));
    KVP_ASSIGN_OR_RETURN(configs_, ExpandSpace(spec_.space));
    for (const ModelSpec& model : spec_.models) {
      results_.models.push_back({.spec = model});
      for (const WeightsSpec& weights : model.weights) {
        if (stopped_) break;
        KVP_RETURN_IF_ERROR(OneModel(model, weights));
      }
    }
    if (options_.dry_run) return absl::OkStatus();
    results_.complete = !stopped_;
    KVP_RETURN_IF_ERROR(WriteResults());
    if (stopped_) {
      std::cerr << "stopped; the same command goes on from " << spec_.out << "/journal.jsonl\n";
    }
    return absl::OkStatus();
  }

 private:
  absl::Status OneModel(const ModelSpec& model, const WeightsSpec& weights) {
    const std::string name = model.name + "." + std::string(WeightsKindName(weights.kind));
    if (!options_.dry_run) KVP_RETURN_IF_ERROR(MakeWeights(spec_, weights));
    KVP_ASSIGN_OR_RETURN(const std::string calibration,
                         CalibrationFor(spec_, model, weights, options_.dry_run));
    KVP_ASSIGN_OR_RETURN(const std::vector<NamedConfig> all, ConfigsOf(spec_));
    KVP_ASSIGN_OR_RETURN(const std::unique_ptr<TrialBench> bench,
                         TrialBench::Open(spec_, weights.path, calibration, all, stop_, journal_));
    results_.machine = MachineText(bench->engine().model(), spec_.threads);
    std::vector<Trial> trials =
        UsableTrials(configs_, *bench, options_.dry_run && !spec_.calibration.files.empty());
    const SearchPlan plan = PlanSearch(spec_, *bench, trials);
    if (options_.dry_run) {
      KVP_ASSIGN_OR_RETURN(const Pace pace, bench->MeasurePace());
      std::cout << name << ": " << trials.size() << " configs, " << SearchModeName(spec_.mode)
                << " search\n"
                << FormatPlan(plan, pace);
      return absl::OkStatus();
    }
    Progress progress("tokens of " + name, plan.tokens());
    Search search(spec_, *bench, trials, stop_, progress);
    const absl::Status status = search.Run();
    stopped_ = IsStop(status);
    if (stopped_) {
      std::cerr << "\n" << name << ": " << status.message() << "\n";
    } else {
      KVP_RETURN_IF_ERROR(status);
    }
    WeightsResults result{.spec = weights,
                          .model = bench->engine().model(),
                          .calibration_digest = bench->calibration_digest(),
                          .trials = std::move(trials),
                          .layer_effects = search.layer_effects()};
    return Finish(name, *bench, std::move(result));
  }

  // Adds what is arithmetic, writes the table, and keeps all for the results.
  absl::Status Finish(const std::string& name, TrialBench& bench, WeightsResults result) {
    const std::vector<int64_t>& contexts = spec_.text.accuracy.contexts;
    const std::vector<Trial>& trials = result.trials;
    std::vector<ParetoRow> rows;
    for (const Trial& trial : trials) {
      for (int64_t tokens : spec_.memory_tokens) {
        result.totals.push_back(PredictTotal(bench.engine(), trial.config.named.config, tokens));
      }
      if (trial.stage != TrialStage::kFinal || trial.failed()) continue;
      ParetoRow& row = rows.emplace_back(
          RowOf(bench.engine(), trial.config.named.name, trial.config.named.config));
      row.accuracy = trial.accuracy;
      row.speed = trial.run->speed;
      RoundNumbers(row);
    }
    for (const Trial& trial : trials) {
      std::vector<int64_t>& at = result.frontier.emplace_back();
      for (int64_t context : contexts) {
        for (const ParetoRow& row : NonDominated(rows, result.model.config, {{context}})) {
          if (row.name == trial.config.named.name) at.push_back(context);
        }
      }
    }
    if (!rows.empty()) {
      result.table_file = name + ".yaml";
      KVP_RETURN_IF_ERROR(WriteTable(result, rows));
    }
    AddTasks(bench, trials);
    results_.models.back().weights.push_back(std::move(result));
    return WriteResults();
  }

  // The first weights' bf16 cache is what all losses of a model are against.
  void AddTasks(const TrialBench& bench, const std::vector<Trial>& trials) {
    ModelResults& model = results_.models.back();
    if (!model.reference_scores.empty()) return;
    for (const Trial& trial : trials) {
      if (trial.is_reference() && !trial.task_scores.empty()) {
        model.reference_scores = trial.task_scores;
      }
    }
    if (model.reference_scores.empty()) return;
    for (const Task& task : bench.tasks()) model.tasks.push_back(SummaryOf(task));
  }

  absl::Status WriteTable(const WeightsResults& result, const std::vector<ParetoRow>& rows) {
    ParetoTable table;
    table.model_name = result.model.config.name;
    table.model_fingerprint = result.model.fingerprint;
    table.provenance = {.command = results_.command,
                        .date = results_.date,
                        .machine = results_.machine,
                        .text = results_.text + "; seed " + std::to_string(spec_.seed) +
                                "; search sha256 " + results_.spec_digest,
                        .tool_version = ToolVersion()};
    table.rows = Frontier(rows, result.model.config, spec_.text.accuracy.contexts);
    const std::string path = spec_.out + "/" + result.table_file;
    std::cerr << table.rows.size() << " rows written to " << path << "\n";
    return WriteTextFile(path, FormatParetoTable(table));
  }

  absl::Status WriteResults() {
    const auto json = ResultsJson(results_, spec_);
    const std::string text = json.dump(1) + "\n";
    KVP_RETURN_IF_ERROR(WriteTextFile(spec_.out + "/results.json", text));
    KVP_RETURN_IF_ERROR(WriteTextFile(spec_.out + "/results.csv", ResultsCsv(json)));
    KVP_ASSIGN_OR_RETURN(const std::string page, HtmlReport(text));
    return WriteTextFile(spec_.out + "/report.html", page);
  }

  const TuneSpec& spec_;
  const StopCheck& stop_;
  const RunTuneOptions& options_;
  Journal& journal_;
  std::vector<SpaceConfig> configs_;
  RunResults results_;
  bool stopped_ = false;
};

}  // namespace

absl::Status RunTune(const TuneSpec& spec, const StopCheck& stop, const RunTuneOptions& options) {
  std::error_code error;
  fs::create_directories(spec.out, error);
  if (error) {
    return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE",
                     "cannot make the folder " + spec.out + ": " + error.message(),
                     {{"path", spec.out}});
  }
  KVP_ASSIGN_OR_RETURN(Journal journal, Journal::Open(spec.out + "/journal.jsonl"));
  return Run(spec, stop, options, journal).All();
}

}  // namespace kvpareto::tune
