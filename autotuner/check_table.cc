#include "autotuner/check_table.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "autotuner/compare_rows.h"
#include "autotuner/table_rows.h"
#include "autotuner/trial_bench.h"
#include "autotuner/tune_calibration.h"

namespace kvpareto::tune {
namespace {

// A bench on the weights that the table was measured on.
absl::StatusOr<std::unique_ptr<TrialBench>> BenchFor(const ParetoTable& table, const TuneSpec& spec,
                                                     const StopCheck& stop, Journal& journal) {
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedConfig> configs, ConfigsOf(spec));
  absl::Status mismatch;
  for (const ModelSpec& model : spec.models) {
    for (const WeightsSpec& weights : model.weights) {
      KVP_ASSIGN_OR_RETURN(const std::string calibration,
                           CalibrationFor(spec, model, weights, /*only_look=*/true));
      KVP_ASSIGN_OR_RETURN(
          std::unique_ptr<TrialBench> bench,
          TrialBench::Open(spec, weights.path, calibration, configs, stop, journal));
      mismatch = CheckTableForModel(table, bench->model(), bench->engine().model().fingerprint);
      if (mismatch.ok()) return bench;
    }
  }
  return mismatch;
}

std::vector<const ParetoRow*> Sample(const ParetoTable& table, int count) {
  std::vector<const ParetoRow*> sample;
  const int rows = static_cast<int>(table.rows.size());
  count = std::min(count, rows);
  for (int i = 0; i < count; ++i) sample.push_back(&table.rows[i * rows / count]);
  return sample;
}

}  // namespace

absl::StatusOr<std::vector<CheckedRow>> CheckTable(const ParetoTable& table, const TuneSpec& spec,
                                                   const StopCheck& stop,
                                                   const CheckOptions& options) {
  // Nothing that was measured before counts, so the journal is a new one.
  std::error_code ignored;
  std::filesystem::create_directories(spec.out, ignored);
  const std::string path = spec.out + "/check.jsonl";
  std::filesystem::remove(path, ignored);
  KVP_ASSIGN_OR_RETURN(Journal journal, Journal::Open(path));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<TrialBench> bench,
                       BenchFor(table, spec, stop, journal));
  std::vector<CheckedRow> checked;
  for (const ParetoRow* row : Sample(table, options.rows)) {
    KVP_RETURN_IF_ERROR(stop.Check());
    const NamedConfig named = {row->name, row->config};
    ParetoRow now = RowOf(bench->engine(), row->name, row->config);
    KVP_ASSIGN_OR_RETURN(now.accuracy, bench->Accuracy(named));
    KVP_ASSIGN_OR_RETURN(const MeasuredRun run, bench->Speed(named));
    now.speed = run.speed;
    RoundNumbers(now);
    checked.push_back({row->name, Drifts(*row, now, options.speed_ratio)});
  }
  return checked;
}

}  // namespace kvpareto::tune
