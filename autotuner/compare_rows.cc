#include "autotuner/compare_rows.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace kvpareto::tune {
namespace {

void CompareBytes(const std::string& what, double then, double now,
                  std::vector<std::string>& drifts) {
  if (then != now) drifts.push_back(absl::StrFormat("%s %.0f -> %.0f", what, then, now));
}

void CompareSpeed(const std::string& what, double then, double now, double ratio,
                  std::vector<std::string>& drifts) {
  if (then <= 0.0 || now <= 0.0) return;
  if (std::max(then / now, now / then) <= ratio) return;
  drifts.push_back(
      absl::StrFormat("%s %.3g -> %.3g tokens/s (ratio %.2f)", what, then, now, now / then));
}

void CompareAccuracy(const AccuracyBucket& then, const AccuracyBucket& now,
                     std::vector<std::string>& drifts) {
  const double half_width = then.accuracy - then.accuracy_low;
  if (std::abs(now.accuracy - then.accuracy) <= half_width) return;
  drifts.push_back(absl::StrFormat("accuracy up to %d tokens %.4f -> %.4f (beyond %.4f..%.4f)",
                                   then.max_context_tokens, then.accuracy, now.accuracy,
                                   then.accuracy_low, std::min(1.0, then.accuracy + half_width)));
}

}  // namespace

std::vector<std::string> Drifts(const ParetoRow& then, const ParetoRow& now, double speed_ratio) {
  std::vector<std::string> drifts;
  CompareBytes("bytes per token", then.bytes_per_token, now.bytes_per_token, drifts);
  CompareBytes("fixed bytes", static_cast<double>(then.fixed_bytes),
               static_cast<double>(now.fixed_bytes), drifts);
  CompareBytes("workspace bytes", static_cast<double>(then.workspace_bytes),
               static_cast<double>(now.workspace_bytes), drifts);
  for (const AccuracyBucket& bucket : then.accuracy) {
    for (const AccuracyBucket& other : now.accuracy) {
      if (other.max_context_tokens == bucket.max_context_tokens) {
        CompareAccuracy(bucket, other, drifts);
      }
    }
  }
  CompareSpeed("prefill", then.speed.prefill_tokens_per_second, now.speed.prefill_tokens_per_second,
               speed_ratio, drifts);
  CompareSpeed("decode", then.speed.decode_tokens_per_second, now.speed.decode_tokens_per_second,
               speed_ratio, drifts);
  return drifts;
}

std::vector<std::string> CompareTables(const ParetoTable& then, const ParetoTable& now,
                                       double speed_ratio) {
  std::vector<std::string> lines;
  if (then.model_fingerprint != now.model_fingerprint) {
    lines.push_back("other weights: " + then.model_fingerprint + " -> " + now.model_fingerprint);
  }
  for (const ParetoRow& row : then.rows) {
    const ParetoRow* other = now.Find(row.name);
    if (other == nullptr) {
      lines.push_back("- " + row.name + ": " + row.config.ToString());
    } else if (other->config != row.config) {
      lines.push_back("~ " + row.name + ": " + row.config.ToString() + " -> " +
                      other->config.ToString());
    } else {
      for (const std::string& drift : Drifts(row, *other, speed_ratio)) {
        lines.push_back("~ " + row.name + ": " + drift);
      }
    }
  }
  for (const ParetoRow& row : now.rows) {
    if (then.Find(row.name) == nullptr) {
      lines.push_back("+ " + row.name + ": " + row.config.ToString());
    }
  }
  return lines;
}

}  // namespace kvpareto::tune
