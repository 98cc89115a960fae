// The Pareto table: per model, the KV configs worth choosing from, with what was measured of each.
// One YAML file; docs/pareto-table.md describes every key.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/policy/kv_config.h"

namespace kvpareto {

// Accuracy of a config against the bf16 cache, for contexts up to max_context_tokens.
struct AccuracyBucket {
  int64_t max_context_tokens = 0;
  // The number that a request's accuracy target is compared with: top-1 agreement with bf16, 0..1,
  // mean and lower end of its confidence interval.
  double accuracy = 1.0;
  double accuracy_low = 1.0;
  double kl_mean = 0.0;  // nats, KL(bf16 || config)
  double kl_p99 = 0.0;
  double perplexity_ratio = 1.0;
  int64_t samples = 0;  // predicted positions measured
  friend bool operator==(const AccuracyBucket&, const AccuracyBucket&) = default;
};

struct SpeedPoint {
  double prefill_tokens_per_second = 0.0;
  double decode_tokens_per_second = 0.0;
  int64_t context_tokens = 0;  // depth at which it was measured
  friend bool operator==(const SpeedPoint&, const SpeedPoint&) = default;
};

struct ParetoRow {
  // Short, unique in the table: metric label. Letters, digits, '.', '_' and '-', at most 64; not
  // "pinned", the label of configs that are in no table.
  std::string name;
  KvConfig config;
  double bytes_per_token = 0.0;          // sealed, long-run
  uint64_t fixed_bytes = 0;              // sink, open and recent blocks
  uint64_t workspace_bytes = 0;          // of one prefill chunk
  std::vector<AccuracyBucket> accuracy;  // ascending max_context_tokens
  SpeedPoint speed;
  friend bool operator==(const ParetoRow&, const ParetoRow&) = default;
};

struct TableProvenance {
  std::string command;  // that measured it
  std::string date;     // ISO 8601
  std::string machine;
  std::string text;  // what it was measured on
  std::string tool_version;
  friend bool operator==(const TableProvenance&, const TableProvenance&) = default;
};

struct ParetoTable {
  static constexpr int kSchemaVersion = 1;
  int schema_version = kSchemaVersion;
  std::string model_name;
  std::string model_fingerprint;
  TableProvenance provenance;
  std::vector<ParetoRow> rows;

  const ParetoRow* Find(std::string_view name) const;
  friend bool operator==(const ParetoTable&, const ParetoTable&) = default;
};

// Errors: INVALID_ARGUMENT (TABLE_INVALID) with file, line and key: unknown or missing keys, a
// schema version this build does not read, values out of range, duplicate names.
absl::StatusOr<ParetoTable> ParseParetoTable(const std::string& yaml, const std::string& file_name);
absl::StatusOr<ParetoTable> LoadParetoTable(const std::string& path);
std::string FormatParetoTable(const ParetoTable& table);  // YAML; Parse(Format(t)) == t

// FAILED_PRECONDITION (TABLE_MODEL_MISMATCH) if the table was measured on other weights;
// INVALID_ARGUMENT if a row's config does not fit the model.
absl::Status CheckTableForModel(const ParetoTable& table, const ModelConfig& model,
                                const std::string& fingerprint);

// The rows that, for a prompt of at least one of the lengths in `contexts`, no other row dominates
// in (bytes, accuracy_low, decode speed): a request is served at one length, so a row that is best
// at any of them is worth having. Bytes are the predicted peak and the row's workspace, as a budget
// counts them. Rows without a known accuracy are worst in it. Every row's config fits the model.
std::vector<ParetoRow> NonDominated(const std::vector<ParetoRow>& rows, const ModelConfig& model,
                                    std::span<const int64_t> contexts);

// The bucket that serves a context of `tokens`: the first whose maximum covers it, the last one if
// none does. Null when the row has no accuracy at all.
const AccuracyBucket* BucketFor(const ParetoRow& row, int64_t tokens);

// What a target is compared with: the accuracy_low of that bucket. A row that is bf16 throughout is
// the reference itself: 1 if it has no bucket. Nothing if the row was not measured.
std::optional<double> AccuracyLowAt(const ParetoRow& row, int64_t tokens);
// The mean that it is the lower end for, by the same rules.
std::optional<double> MeanAccuracyAt(const ParetoRow& row, int64_t tokens);

}  // namespace kvpareto
