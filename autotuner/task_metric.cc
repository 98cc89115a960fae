#include "autotuner/task_metric.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <map>

namespace kvpareto::tune {
namespace {

constexpr std::array<std::pair<Metric, std::string_view>, 6> kNames = {
    {{Metric::kF1, "f1"},
     {Metric::kExact, "exact"},
     {Metric::kContainsAll, "contains_all"},
     {Metric::kContainsAny, "contains_any"},
     {Metric::kNumber, "number"},
     {Metric::kNumberStrict, "number_strict"}}};

constexpr char32_t kReplacement = 0xFFFD;

std::u32string CodePoints(std::string_view text) {
  std::u32string points;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    utf8proc_int32_t point = 0;
    const auto size =
        utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(text.size() - i), &point);
    points += size > 0 ? static_cast<char32_t>(point) : kReplacement;
    i += size > 0 ? static_cast<size_t>(size) : 1;
  }
  return points;
}

std::string Utf8(std::u32string_view points) {
  std::string text;
  for (const char32_t point : points) {
    utf8proc_uint8_t bytes[4];
    const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
    text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  }
  return text;
}

std::u32string Lower(std::u32string_view text) {
  std::u32string lower;
  for (const char32_t c : text) {
    if (c == 0x130) {  // the one letter whose lower case is two characters
      lower += U"i\u0307";
    } else {
      lower += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    }
  }
  return lower;
}

// As Python's string.punctuation.
bool IsPunctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

// As Python's str.isspace: what str.split() cuts at.
bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

// As \w of Python's re: letters and numbers of every script, and the underscore.
bool IsWord(char32_t c) {
  if (c == '_') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

bool IsArticle(std::u32string_view word) { return word == U"a" || word == U"an" || word == U"the"; }

// Every whole word that is an article becomes a space.
std::u32string WithoutArticles(std::u32string_view text) {
  std::u32string result;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsWord(text[end])) ++end;
    const std::u32string_view word = text.substr(i, end - i);
    if (IsArticle(word)) {
      result += U' ';
    } else {
      result += word;
    }
    if (end < text.size()) result += text[end++];
    i = end;
  }
  return result;
}

double F1(const std::vector<std::string>& output, const std::vector<std::string>& reference) {
  std::map<std::string_view, int> left;
  for (const std::string& word : reference) ++left[word];
  int common = 0;
  for (const std::string& word : output) {
    const auto found = left.find(word);
    if (found != left.end() && found->second-- > 0) ++common;
  }
  if (common == 0) return 0.0;
  const double precision = 1.0 * common / static_cast<double>(output.size());
  const double recall = 1.0 * common / static_cast<double>(reference.size());
  return 2 * precision * recall / (precision + recall);
}

// lm-eval's exact_match after regexes_to_ignore: ",", "$", everything up to the last "#### ", a
// trailing full stop; case does not matter.
std::string ComparableNumber(std::string_view text) {
  if (const size_t marker = text.rfind("#### "); marker != text.npos) {
    text.remove_prefix(marker + 5);
  }
  std::string result;
  for (const char c : text) {
    if (c != ',' && c != '$') result += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  // As "\.$": the full stop may stand before one last newline.
  const bool newline = result.ends_with('\n');
  const size_t end = result.size() - (newline ? 1 : 0);
  if (end > 0 && result[end - 1] == '.') result.erase(end - 1, 1);
  return result;
}

constexpr std::string_view kNoNumber = "[invalid]";  // as lm-eval, when nothing matches

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The length of lm-eval's (-?[$0-9.,]{2,})|(-?[0-9]+) at the beginning of `text`, 0 if it does not
// match there.
size_t FlexibleMatch(std::string_view text) {
  const size_t sign = text.starts_with('-') ? 1 : 0;
  size_t end = sign;
  while (end < text.size() &&
         (IsDigit(text[end]) || text[end] == '$' || text[end] == '.' || text[end] == ',')) {
    ++end;
  }
  if (end - sign >= 2) return end;
  return end - sign == 1 && IsDigit(text[sign]) ? end : 0;
}

std::string_view LastNumber(std::string_view text) {
  std::string_view last = kNoNumber;
  for (size_t i = 0; i < text.size();) {
    const size_t size = FlexibleMatch(text.substr(i));
    if (size > 0) last = text.substr(i, size);
    i += std::max<size_t>(size, 1);
  }
  return last;
}

// The first match of #### (-?[0-9.,]+).
std::string_view MarkedNumber(std::string_view text) {
  constexpr std::string_view kMarker = "#### ";
  for (size_t at = text.find(kMarker); at != text.npos; at = text.find(kMarker, at + 1)) {
    const std::string_view rest = text.substr(at + kMarker.size());
    const size_t sign = rest.starts_with('-') ? 1 : 0;
    size_t end = sign;
    while (end < rest.size() && (IsDigit(rest[end]) || rest[end] == '.' || rest[end] == ',')) ++end;
    if (end > sign) return rest.substr(0, end);
  }
  return kNoNumber;
}

bool Contains(const std::u32string& lower_output, const std::string& reference) {
  return lower_output.find(Lower(CodePoints(reference))) != std::u32string::npos;
}

double ShareContained(std::string_view output, std::span<const std::string> references) {
  const std::u32string lower = Lower(CodePoints(output));
  const auto found = std::count_if(references.begin(), references.end(),
                                   [&](const auto& r) { return Contains(lower, r); });
  return static_cast<double>(found) / static_cast<double>(references.size());
}

double BestF1(std::string_view output, std::span<const std::string> references) {
  const std::vector<std::string> words = NormalizedWords(output);
  double best = 0.0;
  for (const std::string& reference : references) {
    best = std::max(best, F1(words, NormalizedWords(reference)));
  }
  return best;
}

bool SameWords(std::string_view output, std::span<const std::string> references) {
  const std::vector<std::string> words = NormalizedWords(output);
  return std::any_of(references.begin(), references.end(),
                     [&](const auto& r) { return NormalizedWords(r) == words; });
}

bool SameNumber(std::string_view number, std::span<const std::string> references) {
  const std::string found = ComparableNumber(number);
  return std::any_of(references.begin(), references.end(),
                     [&](const auto& r) { return ComparableNumber(r) == found; });
}

}  // namespace

std::string_view MetricName(Metric metric) {
  const auto found = std::find_if(kNames.begin(), kNames.end(),
                                  [&](const auto& entry) { return entry.first == metric; });
  return found->second;
}

std::optional<Metric> ParseMetric(std::string_view name) {
  for (const auto& [metric, its_name] : kNames) {
    if (its_name == name) return metric;
  }
  return std::nullopt;
}

std::vector<std::string_view> MetricNames() {
  std::vector<std::string_view> names;
  for (const auto& [metric, name] : kNames) names.push_back(name);
  return names;
}

std::vector<std::string> NormalizedWords(std::string_view text) {
  std::u32string points = Lower(CodePoints(text));
  std::erase_if(points, IsPunctuation);
  std::vector<std::string> words;
  std::u32string word;
  for (const char32_t c : WithoutArticles(points) + U' ') {
    if (!IsSpace(c)) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(Utf8(word));
      word.clear();
    }
  }
  return words;
}

double ScoreText(Metric metric, std::string_view output, std::span<const std::string> references) {
  switch (metric) {
    case Metric::kF1:
      return BestF1(output, references);
    case Metric::kExact:
      return SameWords(output, references) ? 1.0 : 0.0;
    case Metric::kContainsAll:
      return ShareContained(output, references);
    case Metric::kContainsAny:
      return ShareContained(output, references) > 0.0 ? 1.0 : 0.0;
    case Metric::kNumber:
      return SameNumber(LastNumber(output), references) ? 1.0 : 0.0;
    case Metric::kNumberStrict:
      return SameNumber(MarkedNumber(output), references) ? 1.0 : 0.0;
  }
  return 0.0;
}

}  // namespace kvpareto::tune
