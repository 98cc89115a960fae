#include "autotuner/simulator/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvpareto::sim {
namespace {

void AppendCounts(std::string* text, absl::string_view title,
                  const std::map<std::string, uint64_t>& counts) {
  if (counts.empty()) return;
  absl::StrAppend(text, "  ", title);
  for (const auto& [name, count] : counts) absl::StrAppend(text, " ", name, "=", count);
  absl::StrAppend(text, "\n");
}

void AppendQuantiles(std::string* text, absl::string_view title, const Quantiles& values) {
  absl::StrAppendFormat(text, "  %-14s p50 %.4g  p90 %.4g  p99 %.4g  max %.4g\n", title,
                        values.At(0.5), values.At(0.9), values.At(0.99), values.max());
}

}  // namespace

std::string FormatResult(const FleetResult& result, double wall_seconds) {
  std::string text = absl::StrFormat(
      "held at once: most %d, mean %.1f; promised at once: %.2f GB\n"
      "simulated %.1f s in %.2f s (%.0f times as fast), %d steps\n",
      result.most_held, result.mean_held, static_cast<double>(result.most_bytes) / 1e9,
      result.seconds, wall_seconds, result.seconds / wall_seconds, result.steps);
  for (const auto& [name, c] : result.classes) {
    absl::StrAppendFormat(&text, "class %s: %d requests, %d finished, %d below their target\n",
                          name, c.submitted, c.finished, c.below_target);
    AppendCounts(&text, "configs", c.by_config);
    AppendCounts(&text, "refused", c.refused);
    AppendCounts(&text, "failed", c.failed);
    AppendQuantiles(&text, "wait s", c.queue_seconds);
    AppendQuantiles(&text, "first token s", c.first_token_seconds);
    AppendQuantiles(&text, "token gap s", c.gap_seconds);
  }
  return text;
}

}  // namespace kvpareto::sim
