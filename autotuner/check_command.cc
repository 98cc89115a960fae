#include <iostream>

#include "absl/flags/flag.h"
#include "autotuner/check_table.h"
#include "autotuner/commands.h"
#include "autotuner/compare_rows.h"

ABSL_FLAG(std::string, spec, "", "check: the tuning file that the table was made from");
ABSL_FLAG(int, rows, 3, "check: how many of the table's rows are measured again");
ABSL_FLAG(double, speed_ratio, 1.5, "check, diff: what a speed may differ by, either way");

namespace kvpareto::tune {

absl::Status RunCheck(const std::string& /*command*/, const std::vector<std::string>& files) {
  if (files.size() != 1) return absl::InvalidArgumentError("check: expected one TABLE.yaml");
  const CheckOptions options{.rows = absl::GetFlag(FLAGS_rows),
                             .speed_ratio = absl::GetFlag(FLAGS_speed_ratio)};
  if (options.rows < 1) return absl::InvalidArgumentError("--rows must be at least 1");
  if (!(options.speed_ratio > 1.0))
    return absl::InvalidArgumentError("--speed_ratio must exceed 1");
  KVP_ASSIGN_OR_RETURN(const ParetoTable table, LoadParetoTable(files.front()));
  KVP_ASSIGN_OR_RETURN(const TuneSpec spec, LoadTuneSpec(absl::GetFlag(FLAGS_spec)));
  const StopCheck stop(CatchStopSignals(), spec.time_budget_seconds);
  KVP_ASSIGN_OR_RETURN(const std::vector<CheckedRow> rows, CheckTable(table, spec, stop, options));
  int drifted = 0;
  for (const CheckedRow& row : rows) {
    if (row.drifts.empty()) std::cout << row.name << ": holds\n";
    for (const std::string& drift : row.drifts) std::cout << row.name << ": " << drift << "\n";
    drifted += row.drifts.empty() ? 0 : 1;
  }
  if (drifted == 0) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, "TABLE_DRIFTED",
                   std::to_string(drifted) + " of " + std::to_string(rows.size()) +
                       " rows are not what the table says",
                   {{"rows", std::to_string(drifted)}});
}

absl::Status RunDiff(const std::string& /*command*/, const std::vector<std::string>& files) {
  if (files.size() != 2) return absl::InvalidArgumentError("diff: expected OLD.yaml NEW.yaml");
  KVP_ASSIGN_OR_RETURN(const ParetoTable then, LoadParetoTable(files[0]));
  KVP_ASSIGN_OR_RETURN(const ParetoTable now, LoadParetoTable(files[1]));
  for (const std::string& line : CompareTables(then, now, absl::GetFlag(FLAGS_speed_ratio))) {
    std::cout << line << "\n";
  }
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
