#include "engine/policy/pareto_table.h"

#include <algorithm>

#include "engine/base/mapped_file.h"

namespace kvpareto {
namespace {

constexpr size_t kMaxTableBytes = 16 << 20;

// A row as NonDominated compares it.
struct Point {
  uint64_t bytes = 0;
  double accuracy = 0.0;
  double speed = 0.0;
};

bool Dominates(const Point& a, const Point& b) {
  return a.bytes <= b.bytes && a.accuracy >= b.accuracy && a.speed >= b.speed &&
         (a.bytes < b.bytes || a.accuracy > b.accuracy || a.speed > b.speed);
}

std::vector<Point> PointsAt(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                            int64_t context_tokens) {
  std::vector<Point> points;
  for (const ParetoRow& row : rows) {
    const size_t kv_bytes = kv::PredictPeakBytes(Footprint(row.config, model), context_tokens,
                                                 context_tokens, row.config.prefill_chunk_tokens);
    points.push_back({.bytes = kv_bytes + row.workspace_bytes,
                      .accuracy = AccuracyLowAt(row, context_tokens).value_or(-1.0),
                      .speed = row.speed.decode_tokens_per_second});
  }
  return points;
}

}  // namespace

const ParetoRow* ParetoTable::Find(std::string_view name) const {
  const auto it =
      std::find_if(rows.begin(), rows.end(), [&](const ParetoRow& r) { return r.name == name; });
  return it == rows.end() ? nullptr : &*it;
}

absl::StatusOr<ParetoTable> LoadParetoTable(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxTableBytes));
  return ParseParetoTable(yaml, path);
}

absl::Status CheckTableForModel(const ParetoTable& table, const ModelConfig& model,
                                const std::string& fingerprint) {
  if (table.model_fingerprint != fingerprint) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "TABLE_MODEL_MISMATCH",
        "the Pareto table was measured on other weights: it is for " + table.model_name + " (" +
            table.model_fingerprint + "), loaded is " + model.name + " (" + fingerprint + ")",
        {{"table_fingerprint", table.model_fingerprint}, {"model_fingerprint", fingerprint}});
  }
  for (const ParetoRow& row : table.rows) {
    if (absl::Status status = row.config.ValidateFor(model); !status.ok()) {
      return Annotate(status, "Pareto table row " + row.name);
    }
  }
  return absl::OkStatus();
}

std::vector<ParetoRow> NonDominated(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                                    std::span<const int64_t> contexts) {
  std::vector<bool> keep(rows.size(), false);
  for (int64_t context : contexts) {
    const std::vector<Point> points = PointsAt(rows, model, context);
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool dominated = std::any_of(points.begin(), points.end(),
                                         [&](const Point& p) { return Dominates(p, points[i]); });
      if (!dominated) keep[i] = true;
    }
  }
  std::vector<ParetoRow> kept;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (keep[i]) kept.push_back(rows[i]);
  }
  return kept;
}

const AccuracyBucket* BucketFor(const ParetoRow& row, int64_t tokens) {
  for (const AccuracyBucket& bucket : row.accuracy) {
    if (tokens <= bucket.max_context_tokens) return &bucket;
  }
  return row.accuracy.empty() ? nullptr : &row.accuracy.back();
}

std::optional<double> AccuracyLowAt(const ParetoRow& row, int64_t tokens) {
  if (const AccuracyBucket* bucket = BucketFor(row, tokens)) return bucket->accuracy_low;
  if (row.config.is_bf16()) return 1.0;
  return std::nullopt;
}

std::optional<double> MeanAccuracyAt(const ParetoRow& row, int64_t tokens) {
  const AccuracyBucket* const bucket = BucketFor(row, tokens);
  return bucket == nullptr ? AccuracyLowAt(row, tokens) : std::optional(bucket->accuracy);
}

}  // namespace kvpareto
