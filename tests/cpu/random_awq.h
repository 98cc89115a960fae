// Random matrices in AutoAWQ's layout, beside those in every format with contiguous rows.
#pragma once

#include <span>
#include <vector>

#include "tests/cpu/random_weight.h"
#include "tests/support/awq_blocks.h"

namespace kvpareto::cpu {

inline std::vector<TensorType> AllTypesAndAwq() {
  std::vector<TensorType> types(std::begin(kAllTypes), std::end(kAllTypes));
  types.push_back(TensorType::kAwq4);
  return types;
}

// Groups of 128 columns where that divides them, else of 64 or 32; rows are whole words.
inline RandomTensor MakeRandomAwq(int rows, int cols, uint32_t seed) {
  const int group = cols % 128 == 0 ? 128 : cols % 64 == 0 ? 64 : 32;
  std::vector<float> values = RandomFloats(static_cast<size_t>(rows) * cols, seed);
  for (float& value : values) value *= 0.05f;
  const support::AwqBlocks blocks = support::QuantizeAwq(values, rows, cols, group);
  RandomTensor tensor{.storage = blocks.codes, .view = {}, .awq_values = blocks.values};
  tensor.storage.insert(tensor.storage.end(), blocks.zeros.begin(), blocks.zeros.end());
  tensor.storage.insert(tensor.storage.end(), blocks.scales.begin(), blocks.scales.end());
  const std::span<const std::byte> all(tensor.storage);
  const size_t zeros = blocks.codes.size(), scales = zeros + blocks.zeros.size();
  tensor.view = {.name = "random",
                 .type = TensorType::kAwq4,
                 .shape = {rows, cols},
                 .data = all.first(zeros),
                 .awq = {.group_cols = group,
                         .zeros = all.subspan(zeros, scales - zeros),
                         .scales = all.subspan(scales)}};
  return tensor;
}

}  // namespace kvpareto::cpu
