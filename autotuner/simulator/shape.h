// The shape of a model, without its weights: all that bytes and cost follow from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/status.h"
#include "engine/model/model_config.h"

namespace kvpareto::sim {

// A name ("llama-3.1-8b", "smollm2-135m", ...), or "layers=32 hidden=4096 ffn=14336 heads=32
// kv_heads=8 head_dim=128 vocab=128256 context=131072" in any order. Errors: INVALID_ARGUMENT
// (SHAPE_INVALID) naming the word and what there is.
absl::StatusOr<ModelConfig> ParseShape(std::string_view text);

// Elements of all weight matrices.
int64_t WeightElements(const ModelConfig& model);

}  // namespace kvpareto::sim
