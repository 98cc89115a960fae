#include "autotuner/simulator/trace.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Trace(std::string_view input) {
  const std::vector<std::string> parts = Parts(input, 2);
  CheckRefusal(sim::ParseTrace(parts[0], "trace.jsonl").status());
  CheckRefusal(sim::ParseTraffic(parts[1]).status());
}
