// config.json and generation_config.json of a Hugging Face directory as a ModelConfig.
#pragma once

#include "engine/model/json.h"
#include "engine/model/model_config.h"

namespace kvpareto {

// `generation` may be null. Not yet validated as a whole. Errors: MODEL_CONFIG_INVALID,
// MODEL_ARCHITECTURE_UNSUPPORTED naming the field and its value.
absl::StatusOr<ModelConfig> ReadHfConfig(const Json& config, const Json& generation);

}  // namespace kvpareto
