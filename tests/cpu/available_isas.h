// The instruction sets that tests run on: all that this machine has.
#pragma once

#include <vector>

#include "engine/cpu/isa.h"

namespace kvpareto::cpu {

inline std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (isa <= DetectIsa()) isas.push_back(isa);
  }
  return isas;
}

inline const char* Name(Isa isa) {
  return isa == Isa::kScalar   ? "scalar"
         : isa == Isa::kAvx2   ? "avx2"
         : isa == Isa::kAvx512 ? "avx512"
                               : "amx";
}

}  // namespace kvpareto::cpu
