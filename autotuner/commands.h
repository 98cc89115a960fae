// The subcommands of kvpareto-tune. Each reads its flags, which are parsed already.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// measure: KV configs on a model and a text, to a Pareto table. `command` is the command line, for
// the provenance. Errors: of Measure; INVALID_ARGUMENT for a flag; of the files.
absl::Status RunMeasure(const std::string& command);

// calibrate: what transforms, clips and static ranges need, from texts. Errors: of Calibrate;
// otherwise likewise.
absl::Status RunCalibrate(const std::string& command);

// awq: a model with 4-bit weights as an AutoAWQ checkpoint. Errors: of QuantizeAwq; likewise.
absl::Status RunAwq(const std::string& command);

// perplexity: of a model on texts. Errors: of MeasurePerplexity; likewise.
absl::Status RunPerplexity(const std::string& command);

// fidelity: caches against a reference cache, to a report. Errors: likewise.
absl::Status RunFidelity(const std::string& command);

// layers: codecs per layer, to a list for fidelity. Errors: likewise.
absl::Status RunLayers(const std::string& command);

// tasks: configs on evaluation tasks, to a table of differences to bf16. Errors: likewise.
absl::Status RunTasks(const std::string& command);

// memory: what one request takes, predicted and measured. Errors: of ProbeMemory; likewise.
absl::Status RunMemory(const std::string& command);

// Commands that take files.

// run FILE.yaml: a search, to tables and results. Errors: of the file and of RunTune.
absl::Status RunRun(const std::string& command, const std::vector<std::string>& files);

// report RESULTS.json: results of a search, as an HTML page. Errors: of HtmlReport and the files.
absl::Status RunReport(const std::string& command, const std::vector<std::string>& files);

// check TABLE.yaml: rows of a table again. Errors: of CheckTable; FAILED_PRECONDITION
// (TABLE_DRIFTED).
absl::Status RunCheck(const std::string& command, const std::vector<std::string>& files);

// diff OLD.yaml NEW.yaml: what changed between two tables. Errors: of the files.
absl::Status RunDiff(const std::string& command, const std::vector<std::string>& files);

}  // namespace kvpareto::tune
