// RULER's needles in a haystack, in all its variants.
#pragma once

#include "autotuner/tasks/task_kinds.h"

namespace kvpareto::tune {

enum class NiahHaystack : uint8_t { kNoise, kText, kNeedles };
enum class NiahWord : uint8_t { kWords, kNumbers, kUuids };

// As in RULER's synthetic.yaml.
struct NiahVariant {
  NiahHaystack haystack = NiahHaystack::kText;
  NiahWord key = NiahWord::kWords;
  NiahWord value = NiahWord::kNumbers;
  int keys = 1;
  int values = 1;   // of each key
  int queries = 1;  // keys that are asked for
};

absl::StatusOr<std::vector<TaskItem>> MakeNiah(const TaskContext& context,
                                               const NiahVariant& variant);

}  // namespace kvpareto::tune
