// RULER's variable tracking: one value handed on through a chain of variables, in noise; all names
// that hold it are asked for, after one worked example.
#include <set>

#include "autotuner/tasks/ruler.h"

namespace kvpareto::tune {
namespace {

constexpr int kHops = 4;
constexpr int kExampleLines = 10;  // of noise, within RULER's 500 tokens
constexpr RulerSizes kSizes = {.max_new_tokens = 30, .min_units = kHops + 1};

struct Chain {
  std::string value;
  std::vector<std::string> names;

  std::vector<std::string> Lines() const {
    std::vector<std::string> lines = {"VAR " + names[0] + " = " + value};
    for (size_t i = 1; i < names.size(); ++i) {
      lines.push_back("VAR " + names[i] + " = VAR " + names[i - 1] + " ");
    }
    return lines;
  }
};

Chain MakeChain(int letters, TaskRandom& random) {
  Chain chain{.value = std::to_string(random.Between(10'000, 99'998)), .names = {}};
  std::set<std::string> used;
  while (chain.names.size() < kHops + 1) {
    std::string name = RandomLetters(letters, 'A', random);
    if (used.insert(name).second) chain.names.push_back(std::move(name));
  }
  return chain;
}

// The chain's lines in their order, anywhere among lines of noise.
std::string Document(const Chain& chain, int64_t noise_lines, TaskRandom& random) {
  const std::vector<std::string> hidden = chain.Lines();
  std::vector<std::string> lines(static_cast<size_t>(noise_lines), std::string(kNoise));
  const std::vector<int64_t> places = RandomPlaces(std::ssize(hidden), noise_lines, random);
  for (size_t i = places.size(); i-- > 0;) lines.insert(lines.begin() + places[i], hidden[i]);
  return Join(lines, "\n");
}

std::string Question(const Chain& chain, const std::string& document) {
  return "Memorize and track the chain(s) of variable assignment hidden in the following "
         "text.\n\n" +
         document + "\nQuestion: Find all variables that are assigned the value " + chain.value +
         " in the text above.";
}

std::string AnswerPrefix(const Chain& chain) {
  return " Answer: According to the chain(s) of variable assignment in the text above, " +
         std::to_string(chain.names.size()) + " variables are assigned the value " + chain.value +
         ", they are: ";
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeVariableTracking(const TaskContext& context) {
  return RulerItems(context, kSizes, [](const RulerShape& shape, TaskRandom& random) {
    const Chain example = MakeChain(3, random);
    const std::string shown = Question(example, Document(example, kExampleLines, random)) +
                              AnswerPrefix(example) + " " + Join(example.names, " ") + "\n\n";
    const Chain chain = MakeChain(5, random);
    return absl::StatusOr<RulerSample>(
        RulerSample{.user = shown + Question(chain, Document(chain, shape.units, random)),
                    .answer_prefix = AnswerPrefix(chain),
                    .references = chain.names});
  });
}

}  // namespace kvpareto::tune
