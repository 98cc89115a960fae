#include "server/metric_families.h"

#include <limits>
#include <utility>

namespace kvpareto::server {

prometheus::ClientMetric& MetricFamilies::Add(std::string_view name, std::string_view help,
                                              prometheus::MetricType type, Labels labels) {
  const std::string full_name = "kvpareto_" + std::string(name);
  const auto [entry, added] = index_.emplace(full_name, families_.size());
  if (added) families_.push_back({full_name, std::string(help), type, {}});
  std::vector<prometheus::ClientMetric>& metrics = families_[entry->second].metric;
  metrics.emplace_back();
  metrics.back().label = std::move(labels);
  return metrics.back();
}

void MetricFamilies::AddGauge(std::string_view name, std::string_view help, Labels labels,
                              double value) {
  Add(name, help, prometheus::MetricType::Gauge, std::move(labels)).gauge.value = value;
}

void MetricFamilies::AddCounter(std::string_view name, std::string_view help, Labels labels,
                                double value) {
  Add(name, help, prometheus::MetricType::Counter, std::move(labels)).counter.value = value;
}

void MetricFamilies::AddHistogram(std::string_view name, std::string_view help, Labels labels,
                                  const HistogramSnapshot& snapshot) {
  auto& histogram = Add(name, help, prometheus::MetricType::Histogram, std::move(labels)).histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < snapshot.counts.size(); ++i) {
    cumulative += snapshot.counts[i];
    const double upper_bound = i < snapshot.upper_bounds.size()
                                   ? snapshot.upper_bounds[i]
                                   : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({cumulative, upper_bound});
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = snapshot.sum;
}

}  // namespace kvpareto::server
