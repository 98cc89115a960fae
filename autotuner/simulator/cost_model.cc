#include "autotuner/simulator/cost_model.h"

#include <algorithm>
#include <vector>

#include "autotuner/simulator/shape.h"

namespace kvpareto::sim {
namespace {

// Of the values above 0; 0 if there are none.
double Median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return value <= 0.0; });
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double CostModel::Seconds(const StepWork& work) const {
  double bytes = weight_bytes, flops = 0.0;
  for (size_t i = 0; i < work.sequences.size(); ++i) {
    const Sequence& sequence = *work.sequences[i];
    if (static_cast<int>(i) < work.decode_rows) {
      bytes += static_cast<double>(sequence.cache().live_bytes());
    } else {
      const double tokens = sequence.NextStepTokens();
      const double before = static_cast<double>(sequence.cache().num_tokens());
      flops += tokens * (flops_per_token + flops_per_attended * (before + tokens / 2.0));
    }
  }
  return overhead_seconds + bytes / bytes_per_second + flops / flops_per_second;
}

absl::StatusOr<CostModel> MakeCostModel(const ModelConfig& model, const ParetoTable& table,
                                        double weight_bytes, Rates rates) {
  CostModel cost{.weight_bytes = weight_bytes,
                 .overhead_seconds = rates.overhead_seconds,
                 .flops_per_token = 2.0 * static_cast<double>(WeightElements(model)),
                 .flops_per_attended = 4.0 * model.layers * model.heads * model.head_dim};
  std::vector<double> bandwidths, matrix_rates;
  for (const ParetoRow& row : table.rows) {
    const auto context = static_cast<double>(row.speed.context_tokens);
    bandwidths.push_back(row.speed.decode_tokens_per_second *
                         (weight_bytes + context * row.bytes_per_token));
    matrix_rates.push_back(row.speed.prefill_tokens_per_second *
                           (cost.flops_per_token + cost.flops_per_attended * context / 2.0));
  }
  cost.bytes_per_second =
      rates.bytes_per_second > 0.0 ? rates.bytes_per_second : Median(bandwidths);
  cost.flops_per_second =
      rates.flops_per_second > 0.0 ? rates.flops_per_second : Median(matrix_rates);
  if (cost.bytes_per_second > 0.0 && cost.flops_per_second > 0.0) return cost;
  return MakeError(absl::StatusCode::kInvalidArgument, "RATES_MISSING",
                   "the table has no speed points: name the memory's and the matrix rate");
}

}  // namespace kvpareto::sim
