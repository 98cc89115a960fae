// What the generated tasks share. They follow RULER (Hsieh et al. 2024, arXiv 2404.06654,
// github.com/NVIDIA/RULER): its templates, answer beginnings, answer lengths and sizing by tokens;
// words come from lists of our own and from the user's haystack.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/tasks/task_kinds.h"
#include "autotuner/tasks/task_random.h"

namespace kvpareto::tune {

// One generated prompt: what the user says, how the answer begins (it stands behind the chat
// template, so that the model goes on with the answer itself), and what the answer must contain.
struct RulerSample {
  std::string user;
  std::string answer_prefix;
  std::vector<std::string> references;
};

// How large a sample is to be.
struct RulerShape {
  int64_t bucket = 0;  // tokens of prompt and answer, at most
  int64_t units = 0;   // lines or words of the haystack: what is varied to come close to it
};
using MakeRulerSample = std::function<absl::StatusOr<RulerSample>(const RulerShape&, TaskRandom&)>;

struct RulerSizes {
  int max_new_tokens = 128;
  int64_t min_units = 1;
};

// spec.count samples for every bucket, as long as prompt and answer fit it. Errors: of `make`;
// INVALID_ARGUMENT (TASK_INVALID) when not even the smallest sample fits.
absl::StatusOr<std::vector<TaskItem>> RulerItems(const TaskContext& context,
                                                 const RulerSizes& sizes,
                                                 const MakeRulerSample& make);

// The sentences that noise haystacks repeat.
inline constexpr std::string_view kNoise =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

// The words of the spec's text, read once. A file that ends in .json holds them in its member
// "text", as RULER's essays do. Errors: NOT_FOUND (FILE_NOT_READABLE); INVALID_ARGUMENT
// (TASK_DATA_INVALID, TEXT_TOO_SHORT).
class Haystack {
 public:
  static absl::StatusOr<Haystack> Read(const TaskSpec& spec);

  // `count` words from a random place on, as sentences; the text begins again at its end.
  std::vector<std::string> Sentences(int64_t count, TaskRandom& random) const;
  // Distinct words of three letters or more, lower case, sorted.
  const std::vector<std::string>& vocabulary() const { return vocabulary_; }

 private:
  std::vector<std::string> words_;
  std::vector<std::string> vocabulary_;
};

// "adjective-noun", of some 10,000.
std::string RandomKey(TaskRandom& random);
std::string RandomUuid(TaskRandom& random);
std::string RandomLetters(int count, char first, TaskRandom& random);
// `count` different places below `size`, ascending.
std::vector<int64_t> RandomPlaces(int64_t count, int64_t size, TaskRandom& random);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace kvpareto::tune
