// The whole report: one HTML file that needs nothing else.
#pragma once

#include <string>
#include <string_view>

#include "engine/engine.h"

namespace kvpareto::tune {

// Of results.json (docs/tuning.md). Self-contained: styles, plots and a small script are inline,
// and nothing is fetched. All that comes from the results is escaped. Errors: INVALID_ARGUMENT
// (RESULTS_INVALID).
absl::StatusOr<std::string> HtmlReport(std::string_view results_json);

}  // namespace kvpareto::tune
