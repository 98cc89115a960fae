// Where a table's numbers come from.
#pragma once

#include <string>

#include "autotuner/measure.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// Command, today's date (UTC), this machine's CPU with the backend and threads used, the text's
// name and SHA-256, and the version of this tool.
TableProvenance MakeProvenance(const MeasureOptions& options, const ModelInfo& model);

}  // namespace kvpareto::tune
