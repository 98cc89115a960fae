#include "engine/policy/slo.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Slo(std::string_view input) {
  const auto slo = ParseSlo(std::string(input), "slo.yaml");
  CheckRefusal(slo.status());
  if (!slo.ok()) return;
  for (const ModelSlo& model : slo->models) {
    model.LimitBytes(uint64_t{1} << 40);
    model.ClassFor("gold");
  }
}
