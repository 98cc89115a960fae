#include <algorithm>
#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <optional>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/journal.h"
#include "autotuner/progress.h"
#include "autotuner/provenance.h"
#include "autotuner/sha256.h"
#include "autotuner/task_report.h"
#include "autotuner/task_run.h"
#include "autotuner/task_yaml.h"

ABSL_DECLARE_FLAG(std::string, configs);
ABSL_DECLARE_FLAG(std::string, calibration);
ABSL_FLAG(std::string, tasks, "", "tasks: YAML file with a list `tasks` (docs/tasks.md)");
ABSL_FLAG(int, in_flight, 16, "tasks: requests that are generated for at once, at most");

namespace kvpareto::tune {
namespace {

std::atomic<bool> stop_requested = false;

// The first Ctrl-C lets running requests finish; the second one ends the process.
void StopOnInterrupt() {
  std::signal(SIGINT, [](int signal) {
    stop_requested = true;
    std::signal(signal, SIG_DFL);
  });
}

absl::StatusOr<std::vector<NamedConfig>> ReadConfigs() {
  std::vector<NamedConfig> configs = {{.name = "bf16", .config = KvConfig::Bf16()}};
  const std::string path = absl::GetFlag(FLAGS_configs);
  if (path.empty()) return configs;
  KVP_ASSIGN_OR_RETURN(const std::string list, ReadTextFile(path));
  auto listed = ParseConfigList(list);
  if (!listed.ok()) return Annotate(listed.status(), path);
  configs.insert(configs.end(), listed->begin(), listed->end());
  return configs;
}

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const std::vector<NamedConfig>& configs) {
  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.calibration_path = absl::GetFlag(FLAGS_calibration);
  options.kv_capacity_bytes = uint64_t(absl::GetFlag(FLAGS_kv_capacity_mib)) << 20;
  options.threads = absl::GetFlag(FLAGS_threads);
  for (const NamedConfig& named : configs) {
    options.max_step_tokens = std::max(options.max_step_tokens, named.config.prefill_chunk_tokens);
  }
  return Engine::Create(options);
}

absl::StatusOr<std::vector<Task>> MakeTasks(const Engine& engine) {
  KVP_ASSIGN_OR_RETURN(const std::vector<TaskSpec> specs,
                       LoadTaskSpecs(absl::GetFlag(FLAGS_tasks)));
  std::vector<Task> tasks;
  for (const TaskSpec& spec : specs) {
    KVP_ASSIGN_OR_RETURN(Task task, MakeTask(engine, spec));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

int64_t Items(const std::vector<Task>& tasks) {
  int64_t items = 0;
  for (const Task& task : tasks) items += std::ssize(task.items);
  return items;
}

// Scores by config and task, from the journal where it has them.
absl::Status RunAll(Engine& engine, const std::vector<NamedConfig>& configs, Journal& journal,
                    TaskReport& report) {
  Progress progress("items", Items(report.tasks) * std::ssize(configs));
  std::string current;
  TaskRunOptions options{.max_in_flight = absl::GetFlag(FLAGS_in_flight), .stop = &stop_requested};
  if (const std::string path = absl::GetFlag(FLAGS_calibration); !path.empty()) {
    KVP_ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path));
    options.calibration_digest = Sha256Hex(bytes);
  }
  options.known = [&](const std::string& key) -> std::optional<double> {
    const std::vector<double>* values = journal.Find(key);
    if (values == nullptr || values->size() != 1) return std::nullopt;
    progress.Advance(1, current);
    return values->front();
  };
  options.finished = [&](const TaskItem& item, const std::string& key, const ItemScore& score) {
    progress.Advance(1, current);
    return journal.Append(key, {score.score}, current + " " + item.id);
  };
  TaskRunner runner(engine, std::move(options));
  for (const NamedConfig& config : configs) {
    TaskScores scores{.config = config, .scores = {}};
    for (const Task& task : report.tasks) {
      current = config.name + ", " + task.name;
      KVP_ASSIGN_OR_RETURN(const std::vector<ItemScore> items, runner.Run(task, config));
      std::vector<double>& values = scores.scores.emplace_back();
      for (const ItemScore& item : items) values.push_back(item.score);
    }
    report.configs.push_back(std::move(scores));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunTasks(const std::string& command) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  if (absl::GetFlag(FLAGS_in_flight) < 1 || absl::GetFlag(FLAGS_kv_capacity_mib) < 1) {
    return absl::InvalidArgumentError("--in_flight and --kv_capacity_mib must be positive");
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<NamedConfig> configs, ReadConfigs());
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenEngine(configs));
  TaskReport report{.model = engine->model().config.name,
                    .fingerprint = engine->model().fingerprint,
                    .machine = MachineText(engine->model(), absl::GetFlag(FLAGS_threads)),
                    .command = command};
  KVP_ASSIGN_OR_RETURN(report.tasks, MakeTasks(*engine));
  KVP_ASSIGN_OR_RETURN(Journal journal, Journal::Open(out_path + ".journal"));
  StopOnInterrupt();
  KVP_RETURN_IF_ERROR(RunAll(*engine, configs, journal, report));
  std::cout << TaskReportMarkdown(report);
  return WriteTextFile(out_path, TaskReportJson(report));
}

}  // namespace kvpareto::tune
