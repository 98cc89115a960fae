#include "autotuner/tasks/niah.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "autotuner/tasks/ruler.h"

namespace kvpareto::tune {
namespace {

constexpr RulerSizes kSizes = {.max_new_tokens = 128, .min_units = 5};
// Needles stand at some of 40 evenly spaced depths, in percent.
constexpr int kDepths = 40;

struct Needle {
  std::string key;
  std::vector<std::string> values;
};

std::string RandomWord(NiahWord kind, TaskRandom& random) {
  switch (kind) {
    case NiahWord::kWords:
      return RandomKey(random);
    case NiahWord::kNumbers:
      return std::to_string(random.Between(1'000'000, 9'999'999));
    case NiahWord::kUuids:
      return RandomUuid(random);
  }
  return "";
}

std::string_view Plural(NiahWord kind) {
  return kind == NiahWord::kWords ? "words" : kind == NiahWord::kNumbers ? "numbers" : "uuids";
}

std::string Sentence(NiahWord kind, const std::string& key, const std::string& value) {
  return "One of the special magic " + std::string(Plural(kind)) + " for " + key + " is: " + value +
         ".";
}

// Needles with different keys.
std::vector<Needle> MakeNeedles(const NiahVariant& variant, TaskRandom& random) {
  std::vector<Needle> needles;
  std::set<std::string> keys;
  const auto count = static_cast<size_t>(std::max(variant.keys, variant.queries));
  while (needles.size() < count) {
    Needle needle{.key = RandomWord(variant.key, random), .values = {}};
    if (!keys.insert(needle.key).second) continue;
    for (int i = 0; i < variant.values; ++i) {
      needle.values.push_back(RandomWord(variant.value, random));
    }
    needles.push_back(std::move(needle));
  }
  return needles;
}

std::vector<std::string> ShuffledSentences(const std::vector<Needle>& needles, NiahWord kind,
                                           TaskRandom& random) {
  std::vector<std::string> sentences;
  for (const Needle& needle : needles) {
    for (const std::string& value : needle.values) {
      sentences.push_back(Sentence(kind, needle.key, value));
    }
  }
  random.Shuffle(sentences);
  return sentences;
}

std::string IntoText(std::vector<std::string> text, const std::vector<std::string>& needles,
                     TaskRandom& random) {
  const std::vector<int64_t> depths = RandomPlaces(std::ssize(needles), kDepths, random);
  const auto size = static_cast<double>(text.size());
  for (size_t i = needles.size(); i-- > 0;) {  // from the back: earlier places stay where they are
    const double percent = std::round(100.0 * static_cast<double>(depths[i]) / (kDepths - 1));
    text.insert(text.begin() + static_cast<std::ptrdiff_t>(size * percent / 100.0), needles[i]);
  }
  return Join(text, " ");
}

std::string IntoLines(std::vector<std::string> lines, const std::vector<std::string>& needles,
                      TaskRandom& random) {
  const std::vector<int64_t> places = RandomPlaces(std::ssize(needles), std::ssize(lines), random);
  for (size_t i = places.size(); i-- > 0;) lines.insert(lines.begin() + places[i], needles[i]);
  return Join(lines, "\n");
}

// Lines that look like needles, of keys that are not asked for.
std::vector<std::string> Distractors(const NiahVariant& variant, int64_t count,
                                     const std::vector<Needle>& needles, TaskRandom& random) {
  std::set<std::string> asked;
  for (const Needle& needle : needles) asked.insert(needle.key);
  std::vector<std::string> lines;
  while (std::ssize(lines) < count) {
    const std::string key = RandomWord(variant.key, random);
    if (asked.contains(key)) continue;
    lines.push_back(Sentence(variant.value, key, RandomWord(variant.value, random)));
  }
  return lines;
}

std::string Enumerated(const std::vector<std::string>& keys) {
  if (keys.size() == 1) return keys[0];
  std::string list;
  for (size_t i = 0; i + 1 < keys.size(); ++i) list += (i > 0 ? ", " : "") + keys[i];
  return list + ", and " + keys.back();
}

// RULER's template, which speaks of one needle or of several.
RulerSample AskFor(const NiahVariant& variant, const std::string& context,
                   const std::vector<Needle>& asked) {
  RulerSample sample;
  std::vector<std::string> keys;
  for (const Needle& needle : asked) {
    keys.push_back(needle.key);
    sample.references.insert(sample.references.end(), needle.values.begin(), needle.values.end());
  }
  const bool one = sample.references.size() == 1;
  std::string kind(Plural(variant.value));
  if (one) kind.pop_back();
  const std::string what = kind + " for " + Enumerated(keys) + " mentioned in the provided text";
  sample.user = (one ? "A special magic " + kind + " is hidden"
                     : "Some special magic " + kind + " are hidden") +
                " within the following text. Make sure to memorize it. I will quiz you about the " +
                kind + " afterwards.\n" + context + "\nWhat " + (one ? "is" : "are all") +
                " the special magic " + what + "?";
  sample.answer_prefix = " The special magic " + what + (one ? " is" : " are");
  return sample;
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> MakeNiah(const TaskContext& context,
                                               const NiahVariant& variant) {
  Haystack text;
  if (variant.haystack == NiahHaystack::kText) {
    KVP_ASSIGN_OR_RETURN(text, Haystack::Read(context.spec));
  }
  return RulerItems(context, kSizes, [&](const RulerShape& shape, TaskRandom& random) {
    std::vector<Needle> needles = MakeNeedles(variant, random);
    const std::vector<std::string> hidden = ShuffledSentences(needles, variant.value, random);
    std::string document;
    if (variant.haystack == NiahHaystack::kText) {
      document = IntoText(text.Sentences(shape.units, random), hidden, random);
    } else {
      const auto lines =
          variant.haystack == NiahHaystack::kNoise
              ? std::vector<std::string>(static_cast<size_t>(shape.units), std::string(kNoise))
              : Distractors(variant, shape.units, needles, random);
      document = IntoLines(lines, hidden, random);
    }
    random.Shuffle(needles);
    needles.resize(static_cast<size_t>(variant.queries));
    return absl::StatusOr<RulerSample>(AskFor(variant, document, needles));
  });
}

}  // namespace kvpareto::tune
