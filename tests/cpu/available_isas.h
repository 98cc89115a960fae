// The instruction sets that tests run on: all that this machine has.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "engine/cpu/isa.h"

namespace kvpareto::cpu {

inline std::vector<Isa> AvailableIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : AllIsas()) {
    if (isa <= DetectIsa()) isas.push_back(isa);
  }
  return isas;
}

// As a part of a test's name, which knows no '-'.
inline std::string Name(Isa isa) {
  std::string name(IsaName(isa));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace kvpareto::cpu
