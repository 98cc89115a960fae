// What tasks found of several configs: JSON for programs, Markdown for people.
#pragma once

#include <string>
#include <vector>

#include "autotuner/config_list.h"
#include "autotuner/paired.h"
#include "autotuner/task.h"

namespace kvpareto::tune {

struct TaskScores {
  NamedConfig config;
  std::vector<std::vector<double>> scores;  // [task][item]
};

struct TaskReport {
  std::string model, fingerprint, machine, command;
  std::vector<Task> tasks;
  std::vector<TaskScores> configs;  // the first is the reference
};

// The items of one task and context bucket.
struct TaskGroup {
  size_t task = 0;
  int64_t bucket = 0;
  std::vector<size_t> items;
};
std::vector<TaskGroup> GroupItems(const std::vector<Task>& tasks);

// A config beside the reference, group by group.
std::vector<PairedScores> PairGroups(const std::vector<TaskGroup>& groups,
                                     const TaskScores& candidate, const TaskScores& reference);

std::string TaskReportJson(const TaskReport& report);
std::string TaskReportMarkdown(const TaskReport& report);

}  // namespace kvpareto::tune
