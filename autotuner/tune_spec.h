// What one run of the tuner is to do: the YAML file of `kvpareto-tune run`. docs/tuning.md
// describes every key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/accuracy.h"
#include "autotuner/search_space.h"
#include "autotuner/speed.h"
#include "autotuner/task.h"
#include "engine/engine.h"

namespace kvpareto::tune {

enum class WeightsKind : uint8_t { kAsIs, kBf16, kAwq4 };
std::string_view WeightsKindName(WeightsKind kind);

// One file or folder of a model's weights: each has a fingerprint, and so a table, of its own.
struct WeightsSpec {
  WeightsKind kind = WeightsKind::kAsIs;
  std::string path;  // of awq4, made from `from` if it is not there
  std::string from;  // awq4: bf16 weights to quantize; empty: `path` must be there
  int group = 128;   // awq4 that is made: input features that share a scale
};

struct ModelSpec {
  std::string name;  // of the table's file
  std::vector<WeightsSpec> weights;
  int64_t parameters = 0;   // of the bf16 baseline; 0: counted from the model's sizes
  std::string calibration;  // a file that is there; empty: made, if texts for it are named
};

// Texts that accuracy against the bf16 cache is measured on, one behind the other.
struct TextSpec {
  std::vector<std::string> files;
  int windows = 2;  // each as long as the largest context, evenly spread over the texts
  AccuracyOptions accuracy;
};

struct CalibrationSpec {
  std::vector<std::string> files;  // empty: none is made
  int64_t tokens = 16384;
};

enum class SearchMode : uint8_t { kBrute, kQuick, kEvolve };
std::string_view SearchModeName(SearchMode mode);

// What a row must keep to; it is not ranked by it. 0: no bound.
struct Constraints {
  double min_accuracy = 0.0;  // accuracy_low at every context
  uint64_t max_kv_bytes = 0;  // predicted peak at kv_tokens
  int64_t kv_tokens = 8192;
  double max_decode_ms = 0.0;  // of one token at the depth of `speed`
};

// Successive halving: each rung measures more and keeps fewer.
struct QuickOptions {
  double keep = 0.4;         // share of the configs that the first rung hands on
  int64_t gate_context = 0;  // tokens of the first rung's one window; 0: the smallest context
  int finalists = 12;        // configs that tasks and speed are measured of
};

// Codecs per layer by multi-objective evolution.
struct EvolveOptions {
  std::string base = "k=bf16 v=bf16 sink=16 recent=128";  // windows, chunk, transforms
  std::vector<kv::CodecId> k_codecs, v_codecs;            // from the fewest bits up
  std::vector<double> seed_bits = {3.0, 4.0};  // of the layer search's maps it begins with
  int population = 24;
  int generations = 8;
  int64_t text_tokens = 1536;  // of each of two windows that fitness is measured on
};

struct TuneSpec {
  static constexpr int kSchemaVersion = 1;
  std::string file_name;
  uint64_t seed = 1;
  std::string device = "auto";
  int threads = 0;
  uint64_t kv_capacity_bytes = uint64_t{1} << 30;
  int64_t time_budget_seconds = 0;  // 0: none
  std::string out;                  // folder of all that is written
  std::vector<ModelSpec> models;
  TextSpec text;
  CalibrationSpec calibration;
  SpeedOptions speed;
  SearchSpace space;
  std::vector<TaskSpec> tasks;
  std::vector<int64_t> memory_tokens = {10000, 32768};  // lengths at which totals are compared
  Constraints constraints;
  SearchMode mode = SearchMode::kQuick;
  QuickOptions quick;
  EvolveOptions evolve;
};

// All configs that the search may try: their windows decide which positions count.
absl::StatusOr<std::vector<NamedConfig>> ConfigsOf(const TuneSpec& spec);

// Paths that are not absolute start at the file's folder. Errors: INVALID_ARGUMENT
// (TUNE_SPEC_INVALID) with file, line and key: unknown or missing keys, values out of range,
// configs that do not parse; of reading the file.
absl::StatusOr<TuneSpec> ParseTuneSpec(const std::string& yaml, const std::string& path);
absl::StatusOr<TuneSpec> LoadTuneSpec(const std::string& path);

}  // namespace kvpareto::tune
