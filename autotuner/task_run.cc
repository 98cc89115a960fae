#include "autotuner/task_run.h"

#include <span>
#include <type_traits>

#include "autotuner/journal.h"
#include "autotuner/task_generation.h"

namespace kvpareto::tune {
namespace {

absl::Status Stopped() {
  return MakeError(absl::StatusCode::kCancelled, "STOPPED", "stopped before the task's end");
}

bool IsGenerated(const TaskItem& item) { return std::holds_alternative<Answer>(item.expected); }

}  // namespace

std::string TaskRunner::ItemKey(const TaskItem& item, const KvConfig& config) const {
  const ModelInfo& model = engine_.model();
  return KeyOf({"task item", model.fingerprint, model.backend, item.digest, config.ToString(),
                config.needs_calibration() ? options_.calibration_digest : ""});
}

absl::Status TaskRunner::Finish(const Pending& pending, ItemScore score) {
  *pending.result = std::move(score);
  if (!options_.finished) return absl::OkStatus();
  return options_.finished(*pending.item, pending.key, *pending.result);
}

absl::Status TaskRunner::Generate(const std::vector<Pending>& pending, const KvConfig& config) {
  std::vector<GenerationJob> jobs;
  for (const Pending& one : pending) {
    const auto& answer = std::get<Answer>(one.item->expected);
    jobs.push_back({.prompt = &one.item->prompt,
                    .max_new_tokens = answer.max_new_tokens,
                    .stop_strings = answer.stop_strings});
  }
  size_t finished = 0;
  KVP_RETURN_IF_ERROR(GenerateTexts(
      engine_, jobs, config,
      {.max_in_flight = options_.max_in_flight, .stop = [this] { return stopped(); }},
      [&](size_t job, GeneratedText generated) {
        ++finished;
        const auto& answer = std::get<Answer>(pending[job].item->expected);
        const double score = ScoreText(answer.metric, generated.text, answer.references);
        return Finish(pending[job], {.score = score,
                                     .output = std::move(generated.text),
                                     .generated_tokens = generated.tokens});
      }));
  return finished == jobs.size() ? absl::OkStatus() : Stopped();
}

absl::Status TaskRunner::Measure(const std::vector<Pending>& pending, const KvConfig& config) {
  for (const Pending& one : pending) {
    if (stopped()) return Stopped();
    const auto score = [&](const auto& expected) -> absl::StatusOr<double> {
      if constexpr (std::is_same_v<std::decay_t<decltype(expected)>, Answer>) {
        return 0.0;  // generated, not measured
      } else {
        return likelihoods_.Score(*one.item, expected, config);
      }
    };
    KVP_ASSIGN_OR_RETURN(const double value, std::visit(score, one.item->expected));
    KVP_RETURN_IF_ERROR(Finish(one, {.score = value}));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ItemScore>> TaskRunner::Run(const Task& task,
                                                       const NamedConfig& config) {
  std::vector<ItemScore> scores(task.items.size());
  std::vector<Pending> generated, measured;
  for (size_t i = 0; i < task.items.size(); ++i) {
    const TaskItem& item = task.items[i];
    Pending pending{.item = &item, .key = ItemKey(item, config.config), .result = &scores[i]};
    std::optional<double> known;
    if (options_.known) known = options_.known(pending.key);
    if (known.has_value()) {
      scores[i] = {.score = *known, .known = true};
    } else {
      (IsGenerated(item) ? generated : measured).push_back(std::move(pending));
    }
  }
  KVP_RETURN_IF_ERROR(Generate(generated, config.config));
  KVP_RETURN_IF_ERROR(Measure(measured, config.config));
  return scores;
}

}  // namespace kvpareto::tune
