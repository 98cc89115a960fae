// Flags that the commands which measure fidelity share, and what they mean.
#pragma once

#include <memory>
#include <vector>

#include "autotuner/fidelity_run.h"
#include "autotuner/text_file.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// --text_tokens.
int64_t TextTokens();

// --first, --stride, --prefill_arithmetic, and the digest of --calibration. Errors:
// INVALID_ARGUMENT for a flag; of the file.
absl::StatusOr<FidelityOptions> FidelityOptionsFromFlags();

// --model with --calibration. Errors: of Engine::Create.
absl::StatusOr<std::unique_ptr<Engine>> OpenFidelityEngine();

// --text, a comma-separated list, each from --skip_bytes on. Errors: INVALID_ARGUMENT without a
// text; of LoadText.
absl::StatusOr<std::vector<TokenizedText>> FidelityTexts(const Engine& engine);

}  // namespace kvpareto::tune
