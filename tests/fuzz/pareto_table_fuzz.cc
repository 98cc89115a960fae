#include "engine/base/check.h"
#include "engine/policy/pareto_table.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::ParetoTable(std::string_view input) {
  const auto table = ParseParetoTable(std::string(input), "table.yaml");
  CheckRefusal(table.status());
  if (!table.ok()) return;
  const auto again = ParseParetoTable(FormatParetoTable(*table), "again.yaml");
  KVP_CHECK(again.ok() && *again == *table) << again.status();
}
