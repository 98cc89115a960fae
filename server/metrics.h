// /metrics: every family is built from one snapshot per engine when a scrape comes, so that the
// numbers of one scrape agree with each other. docs/metrics.md describes them.
#pragma once

#include <prometheus/collectable.h>

#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/metric_families.h"
#include "server/models.h"
#include "server/request_counter.h"

namespace kvpareto::server {

// Thread-safe; never blocks an engine.
class Metrics final : public prometheus::Collectable {
 public:
  // Both outlive the metrics.
  Metrics(const Models* models, const RequestCounter* counter)
      : models_(models), counter_(counter) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Models* const models_;
  const RequestCounter* const counter_;
};

// The families of one engine's snapshot.
void AddEngineStats(const std::string& model, const EngineStats& stats, MetricFamilies* families);

}  // namespace kvpareto::server
