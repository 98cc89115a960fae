#include "clients/cli/memory_text.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "clients/cli/units.h"

namespace kvpareto::cli {
namespace {

constexpr int kBarCells = 30;

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string DescribeModel(const v1::ModelMemory& model, bool unicode) {
  std::string text = absl::StrCat(model.model(), "\n");
  const double used = Share(model.allocated_bytes(), model.capacity_bytes());
  absl::StrAppendFormat(&text, "  %-28s [%s] %10s of %s (%.1f%%), %s reserved\n", "arena",
                        Bar(used, kBarCells, unicode), FormatBytes(model.allocated_bytes()),
                        FormatBytes(model.capacity_bytes()), 100.0 * used,
                        FormatBytes(model.reserved_bytes()));
  for (const v1::KvUsage& usage : model.usage()) {
    if (usage.allocated_bytes() == 0) continue;
    const double share = Share(usage.allocated_bytes(), model.allocated_bytes());
    absl::StrAppendFormat(&text, "  %-28s [%s] %10s, live %s; bf16 would take %s\n",
                          absl::StrCat(usage.config_name(), " / ", usage.service_class()),
                          Bar(share, kBarCells, unicode), FormatBytes(usage.allocated_bytes()),
                          FormatBytes(usage.live_bytes()), FormatBytes(usage.bf16_bytes()));
  }
  for (const v1::ClassUsage& usage : model.classes()) {
    absl::StrAppendFormat(&text, "  class %s: %d running, %d waiting, %s reserved\n",
                          usage.service_class(), usage.running(), usage.waiting(),
                          FormatBytes(usage.reserved_bytes()));
  }
  const int64_t saved = model.saved_bytes();
  absl::StrAppendFormat(
      &text, "  %s%s against bf16, fragmentation %.3f, weights %s, workspace %s\n",
      saved < 0 ? "-" : "saved ", FormatBytes(static_cast<uint64_t>(std::abs(saved))),
      model.fragmentation_ratio(), FormatBytes(model.weights_bytes()),
      FormatBytes(model.workspace_bytes()));
  return text;
}

}  // namespace

std::string DescribeMemory(const v1::MemorySnapshot& memory, bool unicode) {
  const absl::Time time =
      absl::FromUnixSeconds(memory.time().seconds()) + absl::Nanoseconds(memory.time().nanos());
  std::string text = absl::StrFormat("%s  server process %s resident\n",
                                     absl::FormatTime("%H:%M:%E1S", time, absl::LocalTimeZone()),
                                     FormatBytes(memory.process_resident_bytes()));
  for (const v1::ModelMemory& model : memory.models()) text += DescribeModel(model, unicode);
  return text;
}

}  // namespace kvpareto::cli
