// The HTTP port for people, Prometheus and probes: /metrics, the status page at /, its data at
// /status.json, /livez and /readyz.
#pragma once

#include <memory>

#include "server/health.h"
#include "server/http/exchange.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/running_requests.h"

namespace kvpareto::server {

class MetricsPort {
 public:
  // All outlive this object.
  MetricsPort(const Metrics* metrics, const Models* models, const RunningRequests* requests,
              const Health* health)
      : metrics_(metrics), models_(models), requests_(requests), health_(health) {}

  void Handle(std::shared_ptr<http::Exchange> exchange) const;

 private:
  http::Response Answer(const http::Request& request) const;

  const Metrics* const metrics_;
  const Models* const models_;
  const RunningRequests* const requests_;
  const Health* const health_;
};

}  // namespace kvpareto::server
