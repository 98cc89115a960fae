#include "autotuner/task_spec_yaml.h"

#include <algorithm>
#include <limits>

#include "autotuner/yaml_optional.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

void ReadKind(YamlMap& map, TaskSpec& spec) {
  map.String("kind", spec.kind);
  std::string known;
  for (const TaskKindInfo& kind : TaskKinds()) {
    if (kind.name == spec.kind) return;
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  map.Fail("kind", "'" + spec.kind + "' is none of " + known);
}

}  // namespace

void ReadTaskSpec(YamlMap& map, TaskSpec& spec) {
  ReadKind(map, spec);
  Text(map, "name", spec.name);
  Text(map, "path", spec.path);
  Text(map, "dataset", spec.dataset);
  Text(map, "prompt", spec.prompt);
  Text(map, "metric", spec.metric);
  Text(map, "shots_path", spec.shots_path);
  Whole(map, "shots", 0, kMost, spec.shots);
  Whole(map, "seed", 0, std::numeric_limits<int64_t>::max(), spec.seed);
  Whole(map, "count", 1, kMost, spec.count);
  Whole(map, "first_row", 0, kMost, spec.first_row);
  Whole(map, "rows", 0, kMost, spec.rows);
  Wholes(map, "context_tokens", 1, kMost, spec.context_tokens);
  if (!std::is_sorted(spec.context_tokens.begin(), spec.context_tokens.end())) {
    map.Fail("context_tokens", "must ascend");
  }
  Whole(map, "max_prompt_tokens", 0, kMost, spec.max_prompt_tokens);
  Whole(map, "max_new_tokens", 0, kMost, spec.max_new_tokens);
  if (!map.Has("chat")) return;
  std::string chat;
  map.String("chat", chat);
  if (chat != "true" && chat != "false") map.Fail("chat", "is neither true nor false");
  spec.chat = chat == "true";
}

}  // namespace kvpareto::tune
