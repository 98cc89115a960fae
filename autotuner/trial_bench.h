// One model's weights, loaded and ready for trials. What the journal has is not measured again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autotuner/accuracy.h"
#include "autotuner/journal.h"
#include "autotuner/stop.h"
#include "autotuner/task_run.h"
#include "autotuner/trial.h"
#include "autotuner/tune_spec.h"

namespace kvpareto::tune {

// Tokens a second of the bf16 cache, for estimates.
struct Pace {
  double prefill = 0.0, decode = 0.0;
};

class TrialBench {
 public:
  // Loads the model, cuts the texts, makes the tasks. `configs`: all that may be tried (they decide
  // which positions count). Everything given outlives the bench. Errors: of Engine::Create, the
  // texts and tasks; INVALID_ARGUMENT (NOTHING_COUNTED).
  static absl::StatusOr<std::unique_ptr<TrialBench>> Open(const TuneSpec& spec,
                                                          const std::string& model_path,
                                                          const std::string& calibration_path,
                                                          const std::vector<NamedConfig>& configs,
                                                          const StopCheck& stop, Journal& journal);

  // Each goes through the model unless the journal has it. Errors: of the engine and the journal.
  absl::StatusOr<std::vector<AccuracyBucket>> Gate(const NamedConfig& config);
  absl::StatusOr<std::vector<AccuracyBucket>> Accuracy(const NamedConfig& config);
  absl::StatusOr<MeasuredRun> Speed(const NamedConfig& config);
  // [task][item] scores. Items are in the journal one by one. Errors: likewise; CANCELLED
  // (STOPPED).
  absl::StatusOr<std::vector<std::vector<double>>> Tasks(const NamedConfig& config);

  // Tokens that each takes.
  int64_t gate_work() const { return gate_->work(); }
  int64_t accuracy_work() const { return accuracy_->work(); }
  int64_t speed_work() const;
  int64_t task_prompt_tokens() const;
  int64_t task_new_tokens() const;  // at most

  absl::StatusOr<Pace> MeasurePace();

  // Names the outcome of a stage of a trial in the journal.
  std::string FailureKey(TrialStage stage, const NamedConfig& config) const;

  Engine& engine() { return *engine_; }
  const ModelConfig& model() const { return engine_->model().config; }
  const Calibration* calibration() const { return calibration_ ? &*calibration_ : nullptr; }
  const std::string& calibration_digest() const { return calibration_digest_; }
  const std::vector<std::vector<int32_t>>& windows() const { return windows_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  const std::string& text_digest() const { return text_digest_; }
  Journal& journal() { return journal_; }

 private:
  TrialBench(const TuneSpec& spec, Journal& journal) : spec_(spec), journal_(journal) {}
  absl::Status MakeTasks(const StopCheck& stop);
  absl::Status LoadCalibration(const std::string& path);
  absl::Status CutTexts();
  // A key from what every result depends on, and `parts`.
  std::string Key(const std::string& kind, const NamedConfig& config,
                  const std::vector<std::string>& parts) const;
  absl::StatusOr<std::vector<AccuracyBucket>> Buckets(const std::string& kind, AccuracyMeter& meter,
                                                      const AccuracyOptions& options,
                                                      int64_t first_counted,
                                                      const NamedConfig& config);

  const TuneSpec& spec_;
  Journal& journal_;
  std::unique_ptr<Engine> engine_;
  std::optional<Calibration> calibration_;
  std::string calibration_digest_, text_digest_;
  std::vector<std::vector<int32_t>> windows_, gate_windows_;
  AccuracyOptions gate_options_;
  int64_t first_counted_ = 0;
  std::unique_ptr<AccuracyMeter> gate_, accuracy_;
  std::vector<Task> tasks_;
  std::unique_ptr<TaskRunner> task_runner_;
};

}  // namespace kvpareto::tune
