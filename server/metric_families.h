// Building blocks for Prometheus metric families.
#pragma once

#include <prometheus/metric_family.h>

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/stats.h"

namespace kvpareto::server {

// Families by name, in the order in which they were first added.
class MetricFamilies {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  // Names get the prefix "kvpareto_". The help text of a family is the one given first.
  void AddGauge(std::string_view name, std::string_view help, Labels labels, double value);
  void AddCounter(std::string_view name, std::string_view help, Labels labels, double value);
  void AddHistogram(std::string_view name, std::string_view help, Labels labels,
                    const HistogramSnapshot& snapshot);

  std::vector<prometheus::MetricFamily> Take() { return std::move(families_); }

 private:
  prometheus::ClientMetric& Add(std::string_view name, std::string_view help,
                                prometheus::MetricType type, Labels labels);

  std::vector<prometheus::MetricFamily> families_;
  std::map<std::string, size_t> index_;
};

}  // namespace kvpareto::server
