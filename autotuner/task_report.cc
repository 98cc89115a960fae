#include "autotuner/task_report.h"

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"

namespace kvpareto::tune {
namespace {

std::string Percent(const Interval& interval) {
  return absl::StrFormat("%+.1f%% (%+.1f to %+.1f)", 100.0 * interval.value, 100.0 * interval.low,
                         100.0 * interval.high);
}

nlohmann::ordered_json IntervalJson(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

nlohmann::ordered_json DifferenceJson(const PairedDifference& paired) {
  nlohmann::ordered_json json = {{"score", paired.candidate},
                                 {"reference", paired.reference},
                                 {"items", paired.items},
                                 {"changed", paired.changed},
                                 {"difference", IntervalJson(paired.difference)}};
  if (paired.relative.has_value()) json["relative"] = IntervalJson(*paired.relative);
  return json;
}

}  // namespace

std::vector<TaskGroup> GroupItems(const std::vector<Task>& tasks) {
  std::vector<TaskGroup> groups;
  for (size_t t = 0; t < tasks.size(); ++t) {
    std::map<int64_t, std::vector<size_t>> buckets;
    for (size_t i = 0; i < tasks[t].items.size(); ++i) {
      buckets[tasks[t].items[i].bucket].push_back(i);
    }
    for (auto& [bucket, items] : buckets) groups.push_back({t, bucket, std::move(items)});
  }
  return groups;
}

std::vector<PairedScores> PairGroups(const std::vector<TaskGroup>& groups,
                                     const TaskScores& candidate, const TaskScores& reference) {
  std::vector<PairedScores> pairs;
  for (const TaskGroup& group : groups) {
    PairedScores& pair = pairs.emplace_back();
    for (const size_t item : group.items) {
      pair.candidate.push_back(candidate.scores[group.task][item]);
      pair.reference.push_back(reference.scores[group.task][item]);
    }
  }
  return pairs;
}

std::string TaskReportJson(const TaskReport& report) {
  const std::vector<TaskGroup> groups = GroupItems(report.tasks);
  nlohmann::ordered_json json = {{"model", report.model},
                                 {"fingerprint", report.fingerprint},
                                 {"machine", report.machine},
                                 {"command", report.command},
                                 {"configs", nlohmann::ordered_json::array()}};
  for (const TaskScores& config : report.configs) {
    const auto pairs = PairGroups(groups, config, report.configs.front());
    nlohmann::ordered_json entry = {{"name", config.config.name},
                                    {"config", config.config.config.ToString()},
                                    {"mean", DifferenceJson(ComparePaired(pairs))},
                                    {"tasks", nlohmann::ordered_json::array()}};
    for (size_t g = 0; g < groups.size(); ++g) {
      nlohmann::ordered_json task = {{"task", report.tasks[groups[g].task].name},
                                     {"context_tokens", groups[g].bucket}};
      task.update(DifferenceJson(ComparePaired({&pairs[g], 1})));
      task["scores"] = pairs[g].candidate;
      entry["tasks"].push_back(std::move(task));
    }
    json["configs"].push_back(std::move(entry));
  }
  return json.dump(2) + "\n";
}

std::string TaskReportMarkdown(const TaskReport& report) {
  const std::vector<TaskGroup> groups = GroupItems(report.tasks);
  std::string text = report.model + ", " + report.machine + "\n\n| config |";
  for (const TaskGroup& group : groups) {
    text += absl::StrFormat(" %s %d (n=%d) |", report.tasks[group.task].name, group.bucket,
                            group.items.size());
  }
  text += " mean | relative change (95%) | items changed |\n|---|";
  for (size_t g = 0; g < groups.size(); ++g) text += "---|";
  text += "---|---|---|\n";
  for (const TaskScores& config : report.configs) {
    const auto pairs = PairGroups(groups, config, report.configs.front());
    text += "| " + config.config.name + " |";
    for (const PairedScores& pair : pairs) {
      text += absl::StrFormat(" %.3f |", ComparePaired({&pair, 1}, {.rounds = 1}).candidate);
    }
    const PairedDifference mean = ComparePaired(pairs);
    text += absl::StrFormat(" %.3f | %s | %d of %d |\n", mean.candidate,
                            mean.relative ? Percent(*mean.relative) : "", mean.changed, mean.items);
  }
  return text;
}

}  // namespace kvpareto::tune
