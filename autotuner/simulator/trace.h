// What is asked of a simulated server: requests with their times of arrival.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/request.h"

namespace kvpareto::sim {

struct TraceRequest {
  double arrival_seconds = 0.0;
  int64_t prompt_tokens = 0;
  int64_t shared_tokens = 0;  // of these, the first ones, that all requests of the class share
  int max_tokens = 0;         // asked for: what memory is reserved for
  int output_tokens = 0;      // generated: 1..max_tokens
  std::string service_class = "default";
  KvRequest kv;
  std::optional<double> deadline_seconds;  // from arrival
};

// One request per line, as JSON objects (JSONL) or, if the first line names columns, as CSV. Keys:
// arrival (seconds), prompt_tokens and output_tokens must be there; max_tokens (default:
// output_tokens), shared_tokens, class, accuracy, budget_bytes, objective, config and deadline
// (seconds) need not.
// Sorted by arrival. Errors: INVALID_ARGUMENT (TRACE_INVALID) with file and line; of ReadFile.
absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);
absl::StatusOr<std::vector<TraceRequest>> ParseTrace(const std::string& text,
                                                     const std::string& file_name);

// A length in tokens: "2048", "uniform:100:4000", "lognormal:MEDIAN:SIGMA", the last cut at 16
// times the median.
struct LengthDistribution {
  enum class Kind : uint8_t { kFixed, kUniform, kLogNormal } kind = Kind::kFixed;
  double a = 1.0;  // length; least; median
  double b = 0.0;  // unused; most; standard deviation of the logarithm
};
absl::StatusOr<LengthDistribution> ParseLength(const std::string& text);

// Traffic of one class.
struct Traffic {
  std::string service_class = "default";
  double requests_per_second = 1.0;  // Poisson
  int burst = 1;                     // so many requests at each arrival
  LengthDistribution prompt, output;
  int64_t shared_tokens = 0;  // the first ones of each prompt, the same in all
  KvRequest kv;
};
// "class=gold rate=2 burst=4 prompt=lognormal:4000:0.8 shared=1000 output=256 accuracy=0.97
// objective=memory config=NAME budget=BYTES", each word at most once.
absl::StatusOr<Traffic> ParseTraffic(const std::string& text);

// The arrivals of `seconds` seconds, the same for a seed everywhere. Sorted by arrival.
std::vector<TraceRequest> Generate(const std::vector<Traffic>& traffic, double seconds,
                                   uint64_t seed);

}  // namespace kvpareto::sim
