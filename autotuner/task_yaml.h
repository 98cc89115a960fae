// Evaluation tasks in YAML: `tasks:` of a tuning file and of `kvpareto-tune tasks`. docs/tasks.md
// describes every key.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "autotuner/task.h"
#include "engine/policy/yaml_map.h"

namespace kvpareto::tune {

// The list under `tasks`. Paths that are not absolute start at `folder`. Errors go to the map's:
// unknown or missing keys, values of a wrong kind, unknown kinds, two tasks of one name.
std::vector<TaskSpec> ReadTaskSpecs(YamlMap& map, const std::filesystem::path& folder);

// A file that holds tasks alone. Errors: INVALID_ARGUMENT (TASK_INVALID) with file, line and key;
// of reading the file.
absl::StatusOr<std::vector<TaskSpec>> LoadTaskSpecs(const std::string& path);

}  // namespace kvpareto::tune
