// The KV configs that a measurement tries.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// A config and the short name that its row gets.
struct NamedConfig {
  std::string name;
  KvConfig config;
};

// What the built-in list is multiplied by.
struct ConfigGrid {
  std::vector<int> recent_tokens = {0, 128};
  std::vector<int> chunk_tokens = {128, 256, 512};
};

// bf16 at every chunk, and every built-in codec pair at every recent window and chunk, with a sink
// of 16 tokens. Names: "k4c-v4t32-r128-c256" (4-bit keys per channel, 4-bit values per token in
// groups of 32, recent window, chunk), "k4c-v4t-balanced-c256" (after calibrated transforms).
absl::StatusOr<std::vector<NamedConfig>> BuiltInConfigs(const ConfigGrid& grid);

// One config a line, "NAME CONFIG" ("int4 k=int4-channel v=int4-token sink=16 recent=0 chunk=256");
// empty lines and lines that begin with '#' are skipped. Errors: INVALID_ARGUMENT
// (KV_CONFIG_INVALID and CONFIG_LIST_INVALID) with the line's number.
absl::StatusOr<std::vector<NamedConfig>> ParseConfigList(std::string_view text);

// A list that can be measured: without the configs that the model cannot use or that need what
// `calibration` (null: none) does not hold (their names go to `dropped`), and with a bf16 row,
// which every table has.
std::vector<NamedConfig> ForModel(const std::vector<NamedConfig>& configs, const ModelConfig& model,
                                  const Calibration* calibration,
                                  std::vector<std::string>* dropped);

}  // namespace kvpareto::tune
