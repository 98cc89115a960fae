// Generated traces (declared in trace.h).
#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "autotuner/simulator/trace.h"
#include "autotuner/simulator/words.h"

namespace kvpareto::sim {
namespace {

constexpr double kMaxLength = 1e8;
constexpr double kTail = 16.0;  // times the median

absl::Status Invalid(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TRACE_INVALID", message);
}

// Numbers from the generator's bits alone: the distributions of the standard library differ from
// one implementation to the next.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  double Uniform() { return (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53; }  // (0, 1)
  double Exponential(double rate) { return -std::log(Uniform()) / rate; }
  double Normal() {  // Box and Muller
    const double radius = std::sqrt(-2.0 * std::log(Uniform()));
    return radius * std::cos(2.0 * M_PI * Uniform());
  }
  int64_t Length(const LengthDistribution& d) {
    double length = d.a;
    if (d.kind == LengthDistribution::Kind::kUniform) length = d.a + (d.b - d.a) * Uniform();
    if (d.kind == LengthDistribution::Kind::kLogNormal) {
      length = std::min(d.a * std::exp(d.b * Normal()), d.a * kTail);
    }
    return std::max<int64_t>(1, std::llround(length));
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace

absl::StatusOr<LengthDistribution> ParseLength(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  LengthDistribution d;
  using Kind = LengthDistribution::Kind;
  const auto number = [](const std::string& part, double& value) {
    return absl::SimpleAtod(part, &value) && value >= 0.0 && value <= kMaxLength;
  };
  if (parts.size() == 1 && number(parts[0], d.a) && d.a >= 1.0) return d;
  if (parts.size() == 3 && number(parts[1], d.a) && number(parts[2], d.b) && d.a >= 1.0) {
    d.kind = parts[0] == "uniform" ? Kind::kUniform : Kind::kLogNormal;
    if (parts[0] == "lognormal" && d.b <= 4.0) return d;
    if (parts[0] == "uniform" && d.b >= d.a) return d;
  }
  return Invalid(absl::StrCat("'", text, "' is no length: N, uniform:LEAST:MOST or ",
                              "lognormal:MEDIAN:SIGMA"));
}

absl::StatusOr<Traffic> ParseTraffic(const std::string& text) {
  Words words;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipWhitespace())) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (!words.insert(parts).second) return Invalid(parts.first + " stands there twice");
  }
  Traffic traffic;
  std::string prompt, output;
  WordReader reader(&words);
  reader.Text("class", traffic.service_class);
  reader.Number("rate", 1e-6, 1e6, traffic.requests_per_second, /*required=*/true);
  reader.Integer("burst", 1, 1'000'000, traffic.burst);
  reader.Text("prompt", prompt, /*required=*/true);
  reader.Text("output", output, /*required=*/true);
  reader.Integer("shared", 0, 100'000'000, traffic.shared_tokens);
  reader.Kv(traffic.kv);
  if (const absl::Status status = reader.Finish(); !status.ok()) {
    return Invalid(std::string(status.message()));
  }
  KVP_ASSIGN_OR_RETURN(traffic.prompt, ParseLength(prompt));
  KVP_ASSIGN_OR_RETURN(traffic.output, ParseLength(output));
  return traffic;
}

std::vector<TraceRequest> Generate(const std::vector<Traffic>& traffic, double seconds,
                                   uint64_t seed) {
  std::vector<TraceRequest> trace;
  for (size_t i = 0; i < traffic.size(); ++i) {
    const Traffic& source = traffic[i];
    Draw draw(seed * 0x9e3779b97f4a7c15u + i);
    for (double at = draw.Exponential(source.requests_per_second); at < seconds;
         at += draw.Exponential(source.requests_per_second)) {
      for (int k = 0; k < source.burst; ++k) {
        TraceRequest request{.arrival_seconds = at,
                             .prompt_tokens = draw.Length(source.prompt),
                             .shared_tokens = source.shared_tokens,
                             .service_class = source.service_class,
                             .kv = source.kv};
        request.output_tokens = static_cast<int>(draw.Length(source.output));
        request.max_tokens = request.output_tokens;
        trace.push_back(std::move(request));
      }
    }
  }
  std::stable_sort(trace.begin(), trace.end(), [](const auto& a, const auto& b) {
    return a.arrival_seconds < b.arrival_seconds;
  });
  return trace;
}

}  // namespace kvpareto::sim
