#include "autotuner/paired.h"

#include <algorithm>
#include <random>

#include "autotuner/fidelity.h"

namespace kvpareto::tune {
namespace {

struct Means {
  double candidate = 0.0, reference = 0.0;
};

// Means of the tasks' means; pick(n) chooses the place of the next item of a task of n.
template <typename Pick>
Means MeansOf(std::span<const PairedScores> tasks, Pick&& pick) {
  Means means;
  double counted = 0.0;
  for (const PairedScores& task : tasks) {
    const size_t items = std::min(task.candidate.size(), task.reference.size());
    if (items == 0) continue;
    Means sums;
    for (size_t i = 0; i < items; ++i) {
      const size_t item = pick(i, items);
      sums.candidate += task.candidate[item];
      sums.reference += task.reference[item];
    }
    means.candidate += sums.candidate / static_cast<double>(items);
    means.reference += sums.reference / static_cast<double>(items);
    counted += 1.0;
  }
  if (counted == 0.0) return means;
  return {means.candidate / counted, means.reference / counted};
}

Interval IntervalOf(double value, const std::vector<double>& drawn, double confidence) {
  const double tail = (1.0 - confidence) / 2.0;
  return {.value = value, .low = Quantile(drawn, tail), .high = Quantile(drawn, 1.0 - tail)};
}

}  // namespace

PairedDifference ComparePaired(std::span<const PairedScores> tasks, const PairedOptions& options) {
  const Means all = MeansOf(tasks, [](size_t i, size_t) { return i; });
  PairedDifference result{.candidate = all.candidate, .reference = all.reference};
  for (const PairedScores& task : tasks) {
    const size_t items = std::min(task.candidate.size(), task.reference.size());
    result.items += static_cast<int64_t>(items);
    for (size_t i = 0; i < items; ++i) result.changed += task.candidate[i] != task.reference[i];
  }
  std::mt19937_64 random(options.seed);
  std::vector<double> differences, relatives;
  for (int round = 0; round < options.rounds; ++round) {
    const Means drawn =
        MeansOf(tasks, [&](size_t, size_t items) { return static_cast<size_t>(random() % items); });
    differences.push_back(drawn.candidate - drawn.reference);
    // A sample that the reference scores 0 on says nothing about a ratio.
    if (drawn.reference > 0.0) relatives.push_back(differences.back() / drawn.reference);
  }
  const double difference = all.candidate - all.reference;
  result.difference = IntervalOf(difference, differences, options.confidence);
  if (all.reference > 0.0 && !relatives.empty()) {
    result.relative = IntervalOf(difference / all.reference, relatives, options.confidence);
  }
  return result;
}

}  // namespace kvpareto::tune
