// The instruction set that a benchmark measures.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "engine/cpu/isa.h"

namespace kvpareto::cpu {

// What KVPARETO_CPU_ISA names, else the best that this machine has.
inline Isa BenchIsa() {
  const char* const name = std::getenv("KVPARETO_CPU_ISA");
  if (name == nullptr) return DetectIsa();
  const std::optional<Isa> isa = FindIsa(name);
  if (isa && *isa <= DetectIsa()) return *isa;
  std::fprintf(stderr, "KVPARETO_CPU_ISA: this machine has no '%s'\n", name);
  std::exit(1);
}

}  // namespace kvpareto::cpu
