#include "autotuner/task_yaml.h"

#include <algorithm>
#include <limits>
#include <set>

#include "autotuner/text_file.h"
#include "autotuner/yaml_optional.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr int64_t kMaxCount = 1'000'000;

void Path(YamlMap& map, const std::string& key, const std::filesystem::path& folder,
          std::string& value) {
  Text(map, key, value);
  if (!value.empty()) value = (folder / value).lexically_normal().string();
}

void ReadKind(YamlMap& map, std::string& kind) {
  map.String("kind", kind);
  std::string known;
  for (const TaskKindInfo& info : TaskKinds()) {
    if (info.name == kind) return;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  map.Fail("kind", "'" + kind + "' is none of " + known);
}

void ReadChat(YamlMap& map, std::optional<bool>& chat) {
  if (!map.Has("chat")) return;
  std::string text;
  map.String("chat", text);
  if (text != "true" && text != "false") map.Fail("chat", "is neither true nor false");
  chat = text == "true";
}

TaskSpec ReadTaskSpec(YamlMap& map, const std::filesystem::path& folder) {
  TaskSpec spec;
  ReadKind(map, spec.kind);
  Text(map, "name", spec.name);
  Path(map, "path", folder, spec.path);
  Text(map, "dataset", spec.dataset);
  Text(map, "prompt", spec.prompt);
  Text(map, "metric", spec.metric);
  Path(map, "shots_path", folder, spec.shots_path);
  Whole(map, "shots", 0, kMaxCount, spec.shots);
  Whole(map, "seed", 0, kMaxInteger, spec.seed);
  Whole(map, "count", 1, kMaxCount, spec.count);
  Whole(map, "first_row", 0, kMaxInteger, spec.first_row);
  Whole(map, "rows", 0, kMaxInteger, spec.rows);
  if (map.Has("context_tokens")) {
    map.Integers("context_tokens", 2, kMaxTokens, spec.context_tokens);
  }
  Whole(map, "max_prompt_tokens", 1, kMaxTokens, spec.max_prompt_tokens);
  Whole(map, "max_new_tokens", 1, kMaxTokens, spec.max_new_tokens);
  ReadChat(map, spec.chat);
  return spec;
}

}  // namespace

std::vector<TaskSpec> ReadTaskSpecs(YamlMap& map, const std::filesystem::path& folder) {
  std::vector<TaskSpec> specs;
  std::set<std::string> names;
  for (YamlMap& entry : map.Maps("tasks")) {
    specs.push_back(ReadTaskSpec(entry, folder));
    const std::string name = specs.back().Name();
    if (!names.insert(name).second) entry.Fail("kind", "two tasks are called '" + name + "'");
    entry.Finish();
  }
  return specs;
}

absl::StatusOr<std::vector<TaskSpec>> LoadTaskSpecs(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  YamlErrors errors{.file_name = path, .reason = "TASK_INVALID", .first = {}};
  std::vector<TaskSpec> specs;
  KVP_RETURN_IF_ERROR(ReadYaml(text, errors, [&](YamlMap map) {
    specs = ReadTaskSpecs(map, std::filesystem::path(path).parent_path());
    if (specs.empty()) map.Fail("tasks", "is empty");
    map.Finish();
  }));
  return specs;
}

}  // namespace kvpareto::tune
