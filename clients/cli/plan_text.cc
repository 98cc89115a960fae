#include "clients/cli/plan_text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "clients/cli/units.h"

namespace kvpareto::cli {
namespace {

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::string Bytes(uint64_t bytes) {
  return absl::StrCat(FormatBytes(bytes), " (", FormatCount(bytes), " B)");
}

// "12.3 tok/s", or "" where a rate means nothing.
std::string Rate(int64_t tokens, double seconds) {
  if (tokens <= 0 || seconds <= 0.0) return "";
  return absl::StrFormat(" (%.1f tok/s)", static_cast<double>(tokens) / seconds);
}

}  // namespace

std::string ReasonName(v1::PlanReason reason) {
  const std::string& name = v1::PlanReason_Name(reason);
  return absl::AsciiStrToLower(absl::StripPrefix(name, "PLAN_REASON_"));
}

std::string DescribePlan(const v1::KvPlan& plan, int64_t prompt_tokens, int32_t max_tokens) {
  std::string text;
  absl::StrAppend(&text, "plan       ", plan.config_name(), "  [", ReasonName(plan.reason()),
                  "]\n");
  absl::StrAppend(&text, "config     ", plan.config(), "\n");
  absl::StrAppend(&text, "tokens     ", FormatCount(prompt_tokens), " in the prompt, up to ",
                  FormatCount(max_tokens), " more\n");
  absl::StrAppend(&text, "predicted  ", Bytes(plan.predicted_peak_bytes()), " at the peak: KV ",
                  FormatBytes(plan.kv_peak_bytes()), ", workspace ",
                  FormatBytes(plan.workspace_bytes()), "\n");
  if (plan.bf16_peak_bytes() > 0) {
    absl::StrAppendFormat(&text, "bf16       KV %s: the plan's takes %.1f%% of it\n",
                          Bytes(plan.bf16_peak_bytes()),
                          100.0 * static_cast<double>(plan.kv_peak_bytes()) /
                              static_cast<double>(plan.bf16_peak_bytes()));
  }
  if (plan.has_accuracy()) {
    absl::StrAppendFormat(&text, "accuracy   >= %.4f agreement with bf16 at this length\n",
                          plan.accuracy());
  } else {
    text += "accuracy   not measured\n";
  }
  absl::StrAppend(&text, "why        ", plan.explanation(), "\n");
  return text;
}

std::string DescribeUsage(const v1::Usage& usage) {
  const v1::Timings& timings = usage.timings();
  std::string text;
  absl::StrAppend(&text, "measured   ", Bytes(usage.measured_peak_bytes()), " at the peak: KV ",
                  FormatBytes(usage.measured_kv_peak_bytes()), "; predicted ",
                  FormatBytes(usage.predicted_peak_bytes()));
  if (usage.measured_peak_bytes() > 0) {
    const double measured = static_cast<double>(usage.measured_peak_bytes());
    absl::StrAppendFormat(
        &text, " (%+.2f%%)",
        100.0 * (static_cast<double>(usage.predicted_peak_bytes()) / measured - 1));
  }
  absl::StrAppend(&text, "\ntokens     ", FormatCount(usage.prompt_tokens()), " in the prompt",
                  usage.cached_prompt_tokens() > 0
                      ? absl::StrCat(" (", FormatCount(usage.cached_prompt_tokens()), " cached)")
                      : "",
                  ", ", FormatCount(usage.generated_tokens()), " generated, KV config ",
                  usage.config_name(), "\n");
  if (usage.requantized_bytes() > 0) {
    absl::StrAppend(&text, "requantized ", Bytes(usage.requantized_bytes()),
                    " while it ran, to make room for others\n");
  }
  const double prefill = Seconds(timings.prefill());
  const double decode = Seconds(timings.decode());
  absl::StrAppendFormat(
      &text, "time       queue %.3f s, prefill %.3f s%s, decode %.3f s%s, total %.3f s\n",
      Seconds(timings.queue()), prefill, Rate(usage.prompt_tokens(), prefill), decode,
      Rate(usage.generated_tokens() - 1, decode), Seconds(timings.total()));
  return text;
}

}  // namespace kvpareto::cli
