// absl::Status, ErrorInfo, MakeError and the early-return macros, as the engine's interface brings
// them.
#pragma once

#include "engine/request.h"  // IWYU pragma: export
