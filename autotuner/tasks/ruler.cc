#include "autotuner/tasks/ruler.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "autotuner/tasks/task_prompt.h"
#include "autotuner/text_file.h"

namespace kvpareto::tune {
namespace {

struct Sized {
  RulerSample sample;
  std::vector<int32_t> prompt;
};

// Makes samples of one bucket and keeps to its size.
class Sizer {
 public:
  Sizer(const TaskContext& context, int64_t bucket, int max_new_tokens, const MakeRulerSample& make)
      : context_(context), bucket_(bucket), max_new_tokens_(max_new_tokens), make_(make) {}

  absl::StatusOr<Sized> Make(int64_t units, int64_t item) const {
    TaskRandom random(context_.spec.seed, bucket_, item);
    Sized sized;
    KVP_ASSIGN_OR_RETURN(sized.sample, make_({.bucket = bucket_, .units = units}, random));
    KVP_ASSIGN_OR_RETURN(sized.prompt, MakePrompt(context_.engine, sized.sample.user,
                                                  context_.Chat(true), sized.sample.answer_prefix));
    return sized;
  }
  bool Fits(const Sized& sized) const {
    return std::ssize(sized.prompt) + max_new_tokens_ <= bucket_;
  }
  absl::StatusOr<bool> Fits(int64_t units) const {
    KVP_ASSIGN_OR_RETURN(const Sized sized, Make(units, 0));
    return Fits(sized);
  }

  // The most units with which the first sample fits; 0 when min_units are too many already.
  absl::StatusOr<int64_t> MostUnits(int64_t min_units) const {
    KVP_ASSIGN_OR_RETURN(bool fits, Fits(min_units));
    if (!fits) return 0;
    int64_t low = min_units;  // fits
    int64_t high = 2 * min_units;
    while (true) {
      KVP_ASSIGN_OR_RETURN(fits, Fits(high));
      if (!fits) break;
      low = high;
      high *= 2;
    }
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      KVP_ASSIGN_OR_RETURN(fits, Fits(middle));
      (fits ? low : high) = middle;
    }
    return low;
  }

 private:
  const TaskContext& context_;
  const int64_t bucket_;
  const int max_new_tokens_;
  const MakeRulerSample& make_;
};

TaskItem MakeItem(Sized sized, int64_t bucket, int64_t index, int max_new_tokens) {
  TaskItem item{.id = std::to_string(bucket) + "/" + std::to_string(index),
                .bucket = bucket,
                .prompt = std::move(sized.prompt)};
  item.expected = Answer{.metric = Metric::kContainsAll,
                         .references = std::move(sized.sample.references),
                         .max_new_tokens = max_new_tokens,
                         .stop_strings = {}};
  return item;
}

absl::Status AddBucket(const TaskContext& context, int64_t bucket, const RulerSizes& sizes,
                       const MakeRulerSample& make, std::vector<TaskItem>& items) {
  const int max_new_tokens = context.MaxNewTokens(sizes.max_new_tokens);
  const Sizer sizer(context, bucket, max_new_tokens, make);
  KVP_ASSIGN_OR_RETURN(const int64_t most, sizer.MostUnits(sizes.min_units));
  for (int64_t index = 0; index < context.spec.count; ++index) {
    // Samples of as many units differ by a few tokens: some need a little less.
    int64_t units = most;
    while (units >= sizes.min_units) {
      KVP_ASSIGN_OR_RETURN(Sized sized, sizer.Make(units, index));
      if (sizer.Fits(sized)) {
        items.push_back(MakeItem(std::move(sized), bucket, index, max_new_tokens));
        break;
      }
      units -= std::max<int64_t>(1, units / 100);
    }
    if (units < sizes.min_units) {
      return TaskError(context.spec, std::to_string(bucket) +
                                         " tokens are too few for its question and an answer of " +
                                         std::to_string(max_new_tokens));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadHaystackText(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
  if (!path.ends_with(".json")) return text;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TASK_DATA_INVALID",
                     path + " is no JSON object with a string \"text\"",
                     {{"file", path}, {"field", "text"}});
  }
  return json["text"].get<std::string>();
}

// The letters of a word without the punctuation around it; empty for anything but ASCII letters.
std::string PlainWord(const std::string& word) {
  std::string plain;
  for (const char c : word) {
    const char lower = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    const bool letter = lower >= 'a' && lower <= 'z';
    if (letter) plain += lower;
    if (!letter && (static_cast<unsigned char>(c) >= 0x80 || c == '\'' || c == '-')) return "";
  }
  return plain;
}

bool EndsSentence(const std::string& word) {
  const size_t last = word.find_last_not_of("\"')]");
  return last != std::string::npos && (word[last] == '.' || word[last] == '!' || word[last] == '?');
}

}  // namespace

absl::StatusOr<std::vector<TaskItem>> RulerItems(const TaskContext& context,
                                                 const RulerSizes& sizes,
                                                 const MakeRulerSample& make) {
  std::vector<TaskItem> items;
  for (const int64_t bucket : context.buckets) {
    KVP_RETURN_IF_ERROR(AddBucket(context, bucket, sizes, make, items));
  }
  return items;
}

absl::StatusOr<Haystack> Haystack::Read(const TaskSpec& spec) {
  KVP_ASSIGN_OR_RETURN(const std::string text, ReadHaystackText(spec.path));
  Haystack haystack;
  std::set<std::string> vocabulary;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    std::string plain = PlainWord(word);
    if (plain.size() >= 3) vocabulary.insert(std::move(plain));
    haystack.words_.push_back(std::move(word));
  }
  if (haystack.words_.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     spec.path + " has no words", {{"path", spec.path}});
  }
  haystack.vocabulary_.assign(vocabulary.begin(), vocabulary.end());
  return haystack;
}

std::vector<std::string> Haystack::Sentences(int64_t count, TaskRandom& random) const {
  const size_t start = random.Below(words_.size());
  std::vector<std::string> sentences;
  bool ended = true;
  for (int64_t i = 0; i < count; ++i) {
    const std::string& word = words_[(start + static_cast<size_t>(i)) % words_.size()];
    if (ended) {
      sentences.push_back(word);
    } else {
      sentences.back() += " " + word;
    }
    ended = EndsSentence(word);
  }
  return sentences;
}

std::string RandomUuid(TaskRandom& random) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string uuid;
  for (const char c : std::string_view("xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx")) {
    if (c == 'x') {
      uuid += kDigits[random.Below(16)];
    } else if (c == 'y') {  // version 4: the two highest bits are 10
      uuid += kDigits[8 + random.Below(4)];
    } else {
      uuid += c;
    }
  }
  return uuid;
}

std::string RandomLetters(int count, char first, TaskRandom& random) {
  std::string letters;
  for (int i = 0; i < count; ++i) letters += static_cast<char>(first + random.Below(26));
  return letters;
}

std::vector<int64_t> RandomPlaces(int64_t count, int64_t size, TaskRandom& random) {
  std::set<int64_t> places;
  while (std::ssize(places) < std::min(count, size)) {
    places.insert(static_cast<int64_t>(random.Below(static_cast<uint64_t>(size))));
  }
  return {places.begin(), places.end()};
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) joined += separator;
    joined += parts[i];
  }
  return joined;
}

}  // namespace kvpareto::tune
