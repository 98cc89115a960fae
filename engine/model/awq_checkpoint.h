// AutoAWQ checkpoints ("GEMM" layout): what config.json says of them, and their tensors.
// Layout: https://github.com/casper-hansen/AutoAWQ, awq/modules/linear/gemm.py.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/json.h"
#include "engine/model/tensor_catalog.h"

namespace kvpareto {

// `quantization_config` with quant_method "awq": 4 bits with zeros.
struct AwqConfig {
  int group_size = 128;  // input features that share a scale and a zero; -1: all of them
  // Linear layers whose names contain one of these are stored as they were.
  std::vector<std::string> modules_to_not_convert;

  bool Converts(std::string_view module) const;
};

// nullopt: config.json has no quantization_config. Errors: UNIMPLEMENTED
// (QUANTIZATION_UNSUPPORTED) for another method, layout, width or kind of zero; INVALID_ARGUMENT
// (MODEL_CONFIG_INVALID) for members of wrong types or impossible group sizes.
absl::StatusOr<std::optional<AwqConfig>> ReadAwqConfig(const Json& config);

// Refuses a quantized tensor of a module that the configuration says is none. `name` as the file
// has it. Errors: MODEL_CONFIG_INVALID.
absl::Status CheckConverted(const AwqConfig& config, std::string_view name);

// Makes X.weight of type kAwq4 of every X.qweight, X.qzeros and X.scales. Errors, naming the
// tensor: MODEL_FILE_CORRUPT for a part that is missing, of the wrong type or at odds with the
// others; QUANTIZATION_UNSUPPORTED for groups of columns that are no multiple of 32.
absl::Status CombineAwqTensors(const AwqConfig& config, TensorCatalog& tensors);

}  // namespace kvpareto
