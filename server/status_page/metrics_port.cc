#include "server/status_page/metrics_port.h"

#include <prometheus/text_serializer.h>

#include "server/status_page/page.h"
#include "server/status_page/status_json.h"

namespace kvpareto::server {
namespace {

// What kubelets and load balancers look at is the status alone.
http::Response Probe(bool yes) {
  return {.status = yes ? 200 : 503, .content_type = "text/plain", .body = yes ? "yes\n" : "no\n"};
}

}  // namespace

void MetricsPort::Handle(std::shared_ptr<http::Exchange> exchange) const {
  exchange->Send(Answer(exchange->request()));
}

http::Response MetricsPort::Answer(const http::Request& request) const {
  if (request.method != "GET") {
    return {.status = 405, .content_type = "text/plain", .body = "only GET\n"};
  }
  if (request.path == "/metrics") {
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = prometheus::TextSerializer().Serialize(metrics_->Collect())};
  }
  if (request.path == "/status.json") return {.body = StatusJson(*models_, *requests_, *health_)};
  if (request.path == "/livez") return Probe(health_->live());
  if (request.path == "/readyz") return Probe(health_->ready());
  if (request.path == "/") {
    // The page holds all it needs; nothing else may run in it or be loaded by it.
    return {.content_type = "text/html; charset=utf-8",
            .body = kStatusPage,
            .headers = {{"Content-Security-Policy",
                         "default-src 'none'; script-src 'unsafe-inline'; style-src "
                         "'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"}}};
  }
  return {.status = 404,
          .content_type = "text/plain",
          .body = "this port has / , /metrics, /status.json, /livez and /readyz\n"};
}

}  // namespace kvpareto::server
