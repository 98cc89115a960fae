// /metrics: every family is built from one snapshot per engine when a scrape comes, so that the
// numbers of one scrape agree with each other. docs/metrics.md describes them.
#pragma once

#include <prometheus/collectable.h>

#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/metric_families.h"
#include "server/models.h"
#include "server/request_counter.h"
#include "server/slo_loader.h"

namespace kvpareto::server {

// Thread-safe; never blocks an engine.
class Metrics final : public prometheus::Collectable {
 public:
  // All outlive the metrics. Every class has its gauges from the start, for autoscalers that take a
  // missing series for an error.
  Metrics(const Models* models, const RequestCounter* counter,
          const std::set<std::string>* service_classes, const SloLoader* slo)
      : models_(models), counter_(counter), service_classes_(service_classes), slo_(slo) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Models* const models_;
  const RequestCounter* const counter_;
  const std::set<std::string>* const service_classes_;
  const SloLoader* const slo_;
};

// The families of one engine's snapshot.
void AddEngineStats(const std::string& model, const EngineStats& stats, MetricFamilies* families);

}  // namespace kvpareto::server
