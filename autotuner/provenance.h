// Where a table's numbers come from.
#pragma once

#include <string>

#include "autotuner/measure.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// "kvpareto-tune 0.1.0".
std::string ToolVersion();

// Today (UTC), ISO 8601.
std::string Today();

// This machine's CPU with the threads (0: one per core) and backend used.
std::string MachineText(const ModelInfo& model, int threads);

// Command, today's date (UTC), this machine's CPU with the backend and threads used, the text's
// name and SHA-256, and the version of this tool.
TableProvenance MakeProvenance(const MeasureOptions& options, const ModelInfo& model);

}  // namespace kvpareto::tune
