// What a run measured, for reports and programs: results.json and results.csv. docs/tuning.md
// describes every member.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "autotuner/layer_search.h"
#include "autotuner/memory_model.h"
#include "autotuner/paired.h"
#include "autotuner/trial.h"
#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

// A task as results list it.
struct TaskSummary {
  std::string name, kind, digest;
  std::vector<int64_t> item_buckets;  // [item] context bucket, in tokens
};

TaskSummary SummaryOf(const Task& task);

// One model's weights after their search.
struct WeightsResults {
  WeightsSpec spec;
  ModelInfo model;
  std::string table_file, calibration_digest;
  std::vector<Trial> trials;
  std::vector<LayerEffects> layer_effects;     // [layer], of the codecs of `evolve`; may be empty
  std::vector<TotalMemory> totals;             // [trial][memory_tokens], flattened
  std::vector<std::vector<int64_t>> frontier;  // [trial] contexts at which nothing dominates it
};

struct ModelResults {
  ModelSpec spec;
  std::vector<TaskSummary> tasks;
  // [task][item] scores of the bf16 cache of the model's first weights: what losses are against.
  std::vector<std::vector<double>> reference_scores;
  std::vector<WeightsResults> weights;
};

struct RunResults {
  static constexpr int kSchemaVersion = 1;
  std::string command, date, machine, spec_digest, text;
  bool complete = false;
  std::vector<ModelResults> models;
};

// Differences to the reference, task by task and bucket by bucket, or of all (every task and bucket
// counts the same). `scores` as Trial::task_scores.
struct TaskDifference {
  std::string task;  // empty: all
  int64_t bucket = 0;
  PairedDifference paired;
};
std::vector<TaskDifference> TaskDifferences(const ModelResults& model,
                                            const std::vector<std::vector<double>>& scores,
                                            uint64_t seed);
PairedDifference MeanDifference(const ModelResults& model,
                                const std::vector<std::vector<double>>& scores, uint64_t seed);

nlohmann::ordered_json ResultsJson(const RunResults& results, const TuneSpec& spec);
// One line a config and model, from what ResultsJson gave; the first line names the columns.
std::string ResultsCsv(const nlohmann::ordered_json& results);

}  // namespace kvpareto::tune
