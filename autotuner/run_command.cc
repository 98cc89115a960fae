#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/run_tune.h"

ABSL_FLAG(bool, dry_run, false,
          "run: only print what would be measured and how long it would take");

namespace kvpareto::tune {

absl::Status RunRun(const std::string& command, const std::vector<std::string>& files) {
  if (files.size() != 1) return absl::InvalidArgumentError("run: expected one FILE.yaml");
  KVP_ASSIGN_OR_RETURN(TuneSpec spec, LoadTuneSpec(files.front()));
  if (const std::string out = absl::GetFlag(FLAGS_out); !out.empty()) spec.out = out;
  const StopCheck stop(CatchStopSignals(), spec.time_budget_seconds);
  return RunTune(spec, stop, {.command = command, .dry_run = absl::GetFlag(FLAGS_dry_run)});
}

}  // namespace kvpareto::tune
