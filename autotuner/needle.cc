#include "autotuner/needle.h"

#include <algorithm>
#include <array>
#include <random>
#include <span>

namespace kvpareto::tune {
namespace {

constexpr std::array kAdjectives = {"amber",  "bold",   "calm",  "dark",  "eager", "frosty",
                                    "gentle", "hollow", "ivory", "jolly", "keen",  "lucky",
                                    "mellow", "noble",  "odd",   "proud", "quiet", "rapid"};
constexpr std::array kNouns = {"anchor", "basket", "candle",  "dragon", "engine", "falcon",
                               "garden", "hammer", "island",  "jacket", "kettle", "ladder",
                               "mirror", "needle", "orchard", "pencil", "quarry", "rocket"};
constexpr int64_t kBytesPerToken = 5;  // of prose, a little more than any model here needs
constexpr int64_t kNeedleTokens = 24;

struct Needle {
  std::string key, value;
};

// Distinct keys.
std::vector<Needle> MakeKeys(int count, std::mt19937_64& random) {
  std::vector<size_t> adjectives(kAdjectives.size()), nouns(kNouns.size());
  for (size_t i = 0; i < adjectives.size(); ++i) adjectives[i] = i;
  for (size_t i = 0; i < nouns.size(); ++i) nouns[i] = i;
  std::shuffle(adjectives.begin(), adjectives.end(), random);
  std::shuffle(nouns.begin(), nouns.end(), random);
  std::vector<Needle> needles;
  for (int i = 0; i < count; ++i) {
    needles.push_back(
        {.key = std::string(kAdjectives[adjectives[i]]) + "-" + kNouns[nouns[i]],
         .value = std::to_string(std::uniform_int_distribution(1000000, 9999999)(random))});
  }
  return needles;
}

std::vector<std::string> Sentences(const std::string& text) {
  std::vector<std::string> sentences;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(". ", begin), text.size());
    sentences.push_back(text.substr(begin, end - begin));
    begin = end + 2;
  }
  return sentences;
}

// A document with its needles between sentences.
std::string Document(const std::string& haystack, const std::vector<Needle>& needles,
                     const NeedleOptions& options, std::mt19937_64& random) {
  const size_t size = (options.tokens - kNeedleTokens * options.keys) * kBytesPerToken;
  const size_t latest = haystack.size() - std::min(haystack.size(), size + 2);
  size_t begin = std::uniform_int_distribution<size_t>(0, latest)(random);
  begin = std::min(haystack.find(". ", begin), haystack.size() - 2) + 2;
  std::vector<std::string> sentences = Sentences(haystack.substr(begin, size));
  for (const Needle& needle : needles) {
    const size_t last = sentences.size() < 3 ? sentences.size() : sentences.size() - 2;
    const size_t at =
        std::uniform_int_distribution<size_t>(std::min<size_t>(2, last), last)(random);
    sentences.insert(sentences.begin() + at,
                     "One of the special magic numbers for " + needle.key + " is: " + needle.value);
  }
  std::string text =
      "Some special magic numbers are hidden in the following text. Memorize them; I will ask "
      "about "
      "one of them afterwards.\n\n";
  for (const std::string& sentence : sentences) text += sentence + ". ";
  return text + "\n\n";
}

int32_t MostLikely(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

absl::StatusOr<std::vector<NeedleQuestion>> MakeNeedles(const Engine& engine,
                                                        const std::string& haystack,
                                                        const NeedleOptions& options) {
  if (options.keys < 1 || options.keys > static_cast<int>(kAdjectives.size()) ||
      options.tokens < 2 * kNeedleTokens * options.keys ||
      static_cast<int64_t>(haystack.size()) < options.tokens * kBytesPerToken) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     "needles: the haystack needs " +
                         std::to_string(options.tokens * kBytesPerToken) + " bytes, keys 1.." +
                         std::to_string(kAdjectives.size()) + " and twice the tokens they take");
  }
  std::vector<NeedleQuestion> questions;
  for (int d = 0; d < options.documents; ++d) {
    std::mt19937_64 random(options.seed * 1000 + d);
    const std::vector<Needle> needles = MakeKeys(options.keys, random);
    const std::string document = Document(haystack, needles, options, random);
    KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> context, engine.Tokenize(document));
    for (const Needle& needle : needles) {
      const std::string question = "What is the special magic number for " + needle.key +
                                   " mentioned in the provided text?\nThe special magic number "
                                   "for " +
                                   needle.key + " mentioned in the provided text is: ";
      KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, engine.Tokenize(question));
      KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> answer, engine.Tokenize(needle.value));
      NeedleQuestion made{.tokens = context};
      made.question_begin = std::ssize(made.tokens);
      made.tokens.insert(made.tokens.end(), prompt.begin(), prompt.end());
      made.answer_begin = std::ssize(made.tokens);
      made.tokens.insert(made.tokens.end(), answer.begin(), answer.end());
      questions.push_back(std::move(made));
    }
  }
  return questions;
}

absl::StatusOr<int> CountAnswered(Engine& engine, const std::vector<NeedleQuestion>& questions,
                                  const MeasuredConfig& measured) {
  const size_t vocab = engine.model().config.vocab;
  int answered = 0;
  for (const NeedleQuestion& question : questions) {
    bool right = true;
    const auto on_logits = [&](int64_t position, std::span<const float> logits) {
      for (size_t r = 0; r * vocab < logits.size(); ++r) {
        const size_t next = position + r + 1;
        if (next >= question.tokens.size()) return;
        right = right && MostLikely(logits.subspan(r * vocab, vocab)) == question.tokens[next];
      }
    };
    KVP_RETURN_IF_ERROR(
        engine.Score(question.tokens, measured.config,
                     {.decode_from = measured.encode_on_write ? -1 : question.question_begin,
                      .logits_from = question.answer_begin - 1,
                      .encode_on_write = measured.encode_on_write},
                     on_logits));
    answered += right ? 1 : 0;
  }
  return answered;
}

}  // namespace kvpareto::tune
