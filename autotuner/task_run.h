// A task under one KV config: every item's score.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autotuner/config_list.h"
#include "autotuner/task.h"
#include "autotuner/task_likelihood.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct ItemScore {
  double score = 0.0;  // 0..1, more is better
  std::string output;  // what was generated; empty when nothing was, or the score was known
  int64_t generated_tokens = 0;
  bool known = false;  // by TaskRunOptions::known, not measured
};

struct TaskRunOptions {
  std::string calibration_digest;  // of the file in use, part of what a score depends on
  // Requests that are with the engine at once; what does not fit its memory waits there. Answers
  // are greedy and do not depend on it.
  int max_in_flight = 16;
  // The score of an item if it is known, by ItemKey: what makes a run go on where it stopped.
  std::function<std::optional<double>(const std::string& key)> known;
  // Told every item that was measured, as soon as it is, on the calling thread. An error ends the
  // run with it.
  std::function<absl::Status(const TaskItem&, const std::string& key, const ItemScore&)> finished;
  // When it becomes true, what is running is finished, nothing more is started.
  const std::atomic<bool>* stop = nullptr;
};

// Runs tasks, one config after another. The engine and what options point to outlive it.
class TaskRunner {
 public:
  TaskRunner(Engine& engine, TaskRunOptions options)
      : engine_(engine), options_(std::move(options)), likelihoods_(engine) {}

  // Scores in the order of the items. The config is pinned: no table is asked. Errors: of
  // Engine::Prepare, Submit and Score (OUT_OF_RANGE KV_EXCEEDS_CAPACITY: the config does not fit
  // the engine's memory); of `finished`; CANCELLED (STOPPED).
  absl::StatusOr<std::vector<ItemScore>> Run(const Task& task, const NamedConfig& config);

  // Names a score by all it depends on: weights, backend, item, config, calibration.
  std::string ItemKey(const TaskItem& item, const KvConfig& config) const;

 private:
  struct Pending {  // to be measured
    const TaskItem* item;
    std::string key;
    ItemScore* result;
  };

  bool stopped() const { return options_.stop != nullptr && *options_.stop; }
  absl::Status Finish(const Pending& pending, ItemScore score);
  absl::Status Generate(const std::vector<Pending>& pending, const KvConfig& config);
  absl::Status Measure(const std::vector<Pending>& pending, const KvConfig& config);

  Engine& engine_;
  const TaskRunOptions options_;
  LikelihoodScorer likelihoods_;
};

}  // namespace kvpareto::tune
