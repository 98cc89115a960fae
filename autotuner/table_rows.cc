#include "autotuner/table_rows.h"

#include <algorithm>
#include <cmath>

#include "autotuner/memory.h"

namespace kvpareto::tune {
namespace {

// To `digits` significant decimal digits: no measured number here is better than that.
double Rounded(double value, int digits) {
  if (value == 0.0) return 0.0;
  const double unit = std::pow(10.0, std::floor(std::log10(std::abs(value))) + 1 - digits);
  // A division by a whole number at the end gives the double that prints short.
  return unit < 1.0 ? std::round(value / unit) / std::round(1.0 / unit)
                    : std::round(value / unit) * unit;
}

}  // namespace

ParetoRow RowOf(const Engine& engine, const std::string& name, const KvConfig& config) {
  const MemoryCost cost = CostOf(config, engine.model().config);
  return {.name = name,
          .config = config,
          .bytes_per_token = cost.bytes_per_token,
          .fixed_bytes = cost.fixed_bytes,
          .workspace_bytes = engine.WorkspaceBytes(config.prefill_chunk_tokens),
          .accuracy = {},
          .speed = {}};
}

void RoundNumbers(ParetoRow& row) {
  for (AccuracyBucket& bucket : row.accuracy) {
    bucket.accuracy = Rounded(bucket.accuracy, 4);
    bucket.accuracy_low = std::floor(bucket.accuracy_low * 1e4) / 1e4;  // a bound stays one
    bucket.kl_mean = Rounded(bucket.kl_mean, 3);
    bucket.kl_p99 = Rounded(bucket.kl_p99, 3);
    bucket.perplexity_ratio = Rounded(bucket.perplexity_ratio, 5);
  }
  row.speed.prefill_tokens_per_second = Rounded(row.speed.prefill_tokens_per_second, 3);
  row.speed.decode_tokens_per_second = Rounded(row.speed.decode_tokens_per_second, 3);
}

std::vector<ParetoRow> Frontier(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                                std::span<const int64_t> contexts) {
  std::vector<ParetoRow> kept = NonDominated(rows, model, contexts);
  const auto is_bf16 = [](const ParetoRow& row) { return row.config.is_bf16(); };
  if (std::any_of(kept.begin(), kept.end(), is_bf16)) return kept;
  const ParetoRow* fastest = nullptr;
  for (const ParetoRow& row : rows) {
    if (is_bf16(row) && (fastest == nullptr || row.speed.decode_tokens_per_second >
                                                   fastest->speed.decode_tokens_per_second)) {
      fastest = &row;
    }
  }
  if (fastest != nullptr) kept.insert(kept.begin(), *fastest);
  return kept;
}

}  // namespace kvpareto::tune
