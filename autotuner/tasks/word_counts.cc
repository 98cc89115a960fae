// RULER's aggregation tasks: the ten most common words of a numbered list (cwe), with one worked
// example, and the three most frequent of a coded text (fwe).
#include <cmath>
#include <numbers>
#include <set>

#include "autotuner/tasks/ruler.h"

namespace kvpareto::tune {
namespace {

constexpr int kCommonWords = 10;
constexpr RulerSizes kCommonSizes = {.max_new_tokens = 120, .min_units = kCommonWords + 1};
constexpr RulerSizes kFrequentSizes = {.max_new_tokens = 50, .min_units = 40};
constexpr int64_t kLongContext = 4096;  // from here on words are repeated more often
constexpr int kCodedLetters = 6;
constexpr int64_t kTokensPerCodedWord = 50;  // of the text, by which its vocabulary is sized
constexpr int64_t kMinCodedWords = 8;

struct Repeats {
  int64_t example_words;
  int example_common, example_others, common, others;
};
constexpr Repeats kLong = {40, 10, 3, 30, 3};
constexpr Repeats kShort = {20, 3, 1, 6, 1};

struct WordList {
  std::string text;
  std::vector<std::string> common;
};

std::string Numbered(const std::vector<std::string>& words) {
  std::string list;
  for (size_t i = 0; i < words.size(); ++i) {
    list += (i > 0 ? " " : "") + std::to_string(i + 1) + ". " + words[i];
  }
  return list;
}

// `count` different words, the first ten of which are common.
WordList MakeList(const std::vector<std::string>& vocabulary, int64_t count, int common_repeats,
                  int other_repeats, TaskRandom& random) {
  std::vector<std::string> words;
  for (const int64_t place : RandomPlaces(count, std::ssize(vocabulary), random)) {
    words.push_back(vocabulary[static_cast<size_t>(place)]);
  }
  random.Shuffle(words);
  std::vector<std::string> listed;
  for (size_t i = 0; i < words.size(); ++i) {
    listed.insert(listed.end(), i < kCommonWords ? common_repeats : other_repeats, words[i]);
  }
  random.Shuffle(listed);
  words.resize(kCommonWords);
  return {.text = Numbered(listed), .common = std::move(words)};
}

std::string CommonQuestion(const WordList& list) {
  return "Below is a numbered list of words. In these words, some appear more often than others. "
         "Memorize the ones that appear most often.\n" +
         list.text + "\nQuestion: What are the 10 most common words in the above list?";
}
constexpr char kCommonPrefix[] =
    " Answer: The top 10 words that appear most often in the list are:";

// Different coded words.
std::vector<std::string> CodedWords(int64_t count, TaskRandom& random) {
  std::set<std::string> used;
  std::vector<std::string> words;
  while (std::ssize(words) < count) {
    std::string word = RandomLetters(kCodedLetters, 'a', random);
    if (used.insert(word).second) words.push_back(std::move(word));
  }
  return words;
}

// About `total` words; the k-th occurs total / (zeta(2) k^2) times.
std::vector<std::string> ZetaText(const std::vector<std::string>& vocabulary, int64_t total,
                                  TaskRandom& random) {
  constexpr double kZeta2 = std::numbers::pi * std::numbers::pi / 6.0;
  std::vector<std::string> text;
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const double rank = static_cast<double>(i) + 1.0;
    text.insert(text.end(),
                static_cast<size_t>(static_cast<double>(total) / (rank * rank * kZeta2)),
                vocabulary[i]);
  }
  random.Shuffle(text);
  return text;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeCommonWords(const TaskContext& context) {
  KVP_ASSIGN_OR_RETURN(const Haystack haystack, Haystack::Read(context.spec));
  const std::vector<std::string>& vocabulary = haystack.vocabulary();
  return RulerItems(
      context, kCommonSizes,
      [&](const RulerShape& shape, TaskRandom& random) -> absl::StatusOr<RulerSample> {
        const Repeats& repeats = shape.bucket < kLongContext ? kShort : kLong;
        const int64_t needed = std::max(shape.units, repeats.example_words);
        if (needed > std::ssize(vocabulary)) {
          return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                           context.spec.path + " has " + std::to_string(vocabulary.size()) +
                               " different words; filling the context needs " +
                               std::to_string(needed),
                           {{"path", context.spec.path}});
        }
        const WordList example = MakeList(vocabulary, repeats.example_words, repeats.example_common,
                                          repeats.example_others, random);
        WordList list = MakeList(vocabulary, shape.units, repeats.common, repeats.others, random);
        return RulerSample{.user = CommonQuestion(example) + kCommonPrefix + " " +
                                   Numbered(example.common) + "\n" + CommonQuestion(list),
                           .answer_prefix = kCommonPrefix,
                           .references = std::move(list.common)};
      });
}

absl::StatusOr<std::vector<TaskItem>> MakeFrequentWords(const TaskContext& context) {
  return RulerItems(context, kFrequentSizes, [](const RulerShape& shape, TaskRandom& random) {
    const int64_t words = std::max(shape.bucket / kTokensPerCodedWord, kMinCodedWords);
    std::vector<std::string> vocabulary = CodedWords(words, random);
    vocabulary[0] = "...";  // the most frequent one is noise
    const std::string text = Join(ZetaText(vocabulary, shape.units, random), " ");
    return absl::StatusOr<RulerSample>(RulerSample{
        .user = "Read the following coded text and track the frequency of each coded word. Find "
                "the three most frequently appeared coded words. " +
                text +
                "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What "
                "are the three most frequently appeared words in the above coded text?",
        .answer_prefix =
            " Answer: According to the coded text above, the three most frequently appeared words "
            "are:",
        .references = {vocabulary[1], vocabulary[2], vocabulary[3]}});
  });
}

}  // namespace kvpareto::tune
