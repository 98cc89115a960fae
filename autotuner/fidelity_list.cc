#include "autotuner/fidelity_list.h"

#include <algorithm>
#include <sstream>

namespace kvpareto::tune {
namespace {

absl::Status LineError(int line, const std::string& what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_LIST_INVALID",
                   "line " + std::to_string(line) + ": " + what, {{"line", std::to_string(line)}});
}

std::vector<std::string> SplitNames(const std::string& text) {
  std::vector<std::string> names;
  std::istringstream in(text);
  for (std::string name; std::getline(in, name, ',');) {
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

absl::StatusOr<MeasuredConfig> ParseLine(std::istringstream words, int number) {
  constexpr std::string_view kBaseline = "baseline=";
  MeasuredConfig measured;
  words >> measured.name;
  std::string config;
  for (std::string word; words >> word;) {
    if (word == "encode_on_write") {
      measured.encode_on_write = true;
    } else if (word == "needle") {
      measured.needle = true;
    } else if (word.starts_with(kBaseline)) {
      measured.baselines = SplitNames(word.substr(kBaseline.size()));
    } else {
      config += (config.empty() ? "" : " ") + word;
    }
  }
  if (config.empty()) return LineError(number, "expected \"NAME [WORD...] CONFIG\"");
  auto parsed = KvConfig::Parse(config);
  if (!parsed.ok()) return Annotate(parsed.status(), "line " + std::to_string(number));
  measured.config = *std::move(parsed);
  return measured;
}

}  // namespace

std::string MeasuredConfig::Identity() const {
  return (encode_on_write ? "encode_on_write " : "") + config.ToString();
}

absl::StatusOr<std::vector<MeasuredConfig>> ParseFidelityList(std::string_view text) {
  std::vector<MeasuredConfig> configs;
  const auto find = [&](const std::string& name) {
    return std::any_of(configs.begin(), configs.end(),
                       [&](const MeasuredConfig& other) { return other.name == name; });
  };
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos || line[first] == '#') continue;
    KVP_ASSIGN_OR_RETURN(MeasuredConfig measured, ParseLine(std::istringstream(line), number));
    if (find(measured.name)) return LineError(number, "the name " + measured.name + " is taken");
    configs.push_back(std::move(measured));
  }
  if (configs.empty()) return LineError(1, "no configs");
  for (const MeasuredConfig& measured : configs) {
    for (const std::string& baseline : measured.baselines) {
      if (find(baseline)) continue;
      return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_LIST_INVALID",
                       measured.name + ": there is no config " + baseline,
                       {{"name", measured.name}});
    }
  }
  return configs;
}

absl::StatusOr<double> BitsOf(const MeasuredConfig& measured, const ModelConfig& model,
                              int64_t tokens) {
  if (measured.encode_on_write) return EffectiveBitsOnWrite(measured.config, model, tokens);
  return EffectiveBits(measured.config, model, tokens);
}

}  // namespace kvpareto::tune
