// How a generated text is scored against its references, as the benchmarks' own code does it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvpareto::tune {

enum class Metric : uint8_t {
  kF1,            // LongBench's qa_f1_score: F1 of normalised words, best reference
  kExact,         // SQuAD's: the same normalised words as some reference
  kContainsAll,   // RULER's string_match_all: the share of references that occur, ignoring case
  kContainsAny,   // RULER's string_match_part: whether some reference occurs
  kNumber,        // lm-eval's GSM8K, flexible-extract: the last number
  kNumberStrict,  // lm-eval's GSM8K, strict-match: the first number behind "#### "
};

// "f1", "exact", "contains_all", "contains_any", "number", "number_strict".
std::string_view MetricName(Metric metric);
std::optional<Metric> ParseMetric(std::string_view name);
std::vector<std::string_view> MetricNames();

// 0..1. There is at least one reference; any bytes are allowed.
double ScoreText(Metric metric, std::string_view output, std::span<const std::string> references);

// The words of LongBench's normalize_answer, as SQuAD has it: lower case, ASCII punctuation
// dropped, then "a", "an" and "the" dropped where they stand alone, then cut at white space.
// Characters are Unicode's; invalid bytes count as U+FFFD. Case mapping is by character, without
// Python's rule for a final sigma.
std::vector<std::string> NormalizedWords(std::string_view text);

}  // namespace kvpareto::tune
