// An evaluation task as a tuning file names it.
#pragma once

#include "autotuner/task.h"
#include "engine/policy/yaml_map.h"

namespace kvpareto::tune {

// Reads the members of TaskSpec by their names; all but `kind` are optional. What is wrong goes to
// the map's errors. The map is not finished: the caller may read more.
void ReadTaskSpec(YamlMap& map, TaskSpec& spec);

}  // namespace kvpareto::tune
