// results.json of `kvpareto-tune run` as plain values: what a report shows. docs/tuning.md
// describes the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autotuner/paired.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct ReportMemory {  // of one sequence of `tokens` tokens, in bytes
  int64_t tokens = 0;
  double weights = 0.0, kv = 0.0, workspace = 0.0, total = 0.0;
  double bits_per_element = 0.0;
  double reduction_eager = 0.0, reduction_flash = 0.0;  // of the total, 0..1
};

struct ReportAccuracy {  // agreement with the bf16 cache
  int64_t context = 0;
  double accuracy = 0.0, low = 0.0;  // 0..1
  double kl_mean = 0.0, kl_p99 = 0.0, perplexity_ratio = 0.0;
};

struct ReportScore {  // of tasks, against bf16
  std::string task;   // empty: the mean of all
  int64_t context = 0;
  double score = 0.0, reference = 0.0;
  Interval difference;
  std::optional<Interval> relative;
  int64_t items = 0, changed = 0;
};

struct ReportSpeed {
  double prefill = 0.0, decode = 0.0;  // tokens per second
  int64_t context = 0;
};

struct ReportPeak {  // of one request of `context` tokens, in bytes
  int64_t context = 0, predicted = 0, measured = 0;
};

struct ReportRow {
  std::string name, config, group, stage, failure;
  std::vector<std::string> techniques;
  std::vector<std::pair<std::string, std::string>> layers;  // codecs of K and V, by layer
  std::vector<ReportMemory> memory;
  std::vector<ReportAccuracy> accuracy;
  std::optional<ReportSpeed> speed;
  std::optional<ReportPeak> peak;
  std::vector<ReportScore> tasks;
  std::optional<ReportScore> score;
  std::vector<int64_t> frontier;  // contexts at which nothing dominates it
  std::string weights;            // kind of the weights it was measured on

  bool is_paper() const { return group == "paper"; }
  bool is_reference() const { return group == "reference"; }
  const ReportMemory* MemoryAt(int64_t tokens) const;
  const ReportAccuracy* AccuracyAt(int64_t context) const;
  bool OnFrontier(int64_t context) const;
};

// KL of one layer's keys, or values, in one codec, everything else being exact.
struct ReportSensitivity {
  int64_t layer = 0;
  std::map<std::string, double> k, v;
};

struct ReportWeights {
  std::string kind, file, fingerprint, table, calibration;
  double bytes = 0.0;
  std::vector<ReportRow> rows;
  std::vector<ReportSensitivity> sensitivity;
};

struct ReportBaseline {
  int64_t tokens = 0;
  double weights = 0.0, kv = 0.0, scores = 0.0, eager = 0.0, flash = 0.0;
};

struct ReportTask {
  std::string name, kind, digest;
  std::vector<std::pair<int64_t, int64_t>> contexts;  // and how many items
};

struct ReportModel {
  std::string name, full_name;
  int64_t layers = 0, kv_heads = 0, head_dim = 0;
  double parameters = 0.0;
  std::vector<ReportBaseline> baselines;
  std::vector<ReportTask> tasks;
  std::vector<ReportWeights> weights;
};

struct Report {
  std::string tool_version, command, date, machine, spec_digest, text, mode;
  int64_t seed = 0;
  bool complete = true;
  std::vector<int64_t> contexts, memory_tokens;
  std::vector<ReportModel> models;
};

// What is not there keeps its default: results of a run that was stopped are shown, too. Errors:
// INVALID_ARGUMENT (RESULTS_INVALID) for what is not JSON, has another schema version, or a member
// of a wrong kind, which is named.
absl::StatusOr<Report> ParseReport(std::string_view json);

}  // namespace kvpareto::tune
