// What a fidelity run found, summarised: JSON for programs, Markdown for people.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autotuner/fidelity_run.h"

namespace kvpareto::tune {

struct FidelityReport {
  std::string model;
  std::string command;
  std::string machine;
  int64_t tokens = 0;  // of each text; bits per element are counted at this length
  FidelityOptions options;
  std::vector<int64_t> contexts;  // upper ends of the buckets, ascending
  std::vector<ConfigFidelity> configs;
  std::vector<double> bits;            // [configs]
  std::map<std::string, int> needles;  // by config name: answered
  int needle_questions = 0;
};

// Ratio of the mean KLs of two caches on the same positions, with the 95% interval of a paired
// bootstrap over runs of 64 neighbouring positions of one text. Deterministic.
struct RatioInterval {
  double ratio = 0.0;
  double low = 0.0;
  double high = 0.0;
};
RatioInterval CompareMeanKl(const ConfigFidelity& candidate, const ConfigFidelity& baseline);

std::string FidelityJson(const FidelityReport& report);
std::string FidelityMarkdown(const FidelityReport& report);

}  // namespace kvpareto::tune
