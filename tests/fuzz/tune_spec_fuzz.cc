#include "autotuner/tune_spec.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::TuneSpec(std::string_view input) {
  const auto spec = tune::ParseTuneSpec(std::string(input), "tune/tune.yaml");
  CheckRefusal(spec.status());
  if (spec.ok()) CheckRefusal(tune::ConfigsOf(*spec).status());
}
