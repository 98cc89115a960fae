// Errors of EngineOptions.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace kvpareto {

// INVALID_ARGUMENT (ENGINE_OPTION_INVALID): "FIELD RULE".
absl::Status EngineOptionError(std::string_view field, const std::string& rule);

}  // namespace kvpareto
