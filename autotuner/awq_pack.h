// Codes in the words of an AutoAWQ "GEMM" checkpoint (engine/base/tensor.h has the layout).
#pragma once

#include <cstdint>
#include <vector>

#include "autotuner/awq_groups.h"

namespace kvpareto::tune {

struct AwqTensors {
  std::vector<uint32_t> qweight;  // [in, out / 8]
  std::vector<uint32_t> qzeros;   // [in / group_size, out / 8]
  std::vector<uint16_t> scales;   // f16 [in / group_size, out]
};

// `codes` [out, in]; out is a multiple of 8.
AwqTensors PackAwq(const GroupCodes& codes);

}  // namespace kvpareto::tune
