// One tuning file from beginning to end.
#pragma once

#include <string>

#include "autotuner/stop.h"
#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

struct RunTuneOptions {
  std::string command;  // for the provenance
  bool dry_run = false;
};

// Into spec.out: journal.jsonl (what has been measured; a run goes on from it), MODEL.WEIGHTS.yaml
// (Pareto tables), results.json, results.csv, and calibrations that were made. What a stop or the
// time budget leaves unfinished is written as far as it is, and the status is OK: `complete` in
// results.json says which it was. Errors: of the files, the models, and the bench.
absl::Status RunTune(const TuneSpec& spec, const StopCheck& stop, const RunTuneOptions& options);

}  // namespace kvpareto::tune
