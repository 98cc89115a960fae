// What the status page shows, as JSON.
#pragma once

#include <string>

#include "server/health.h"
#include "server/models.h"
#include "server/running_requests.h"

namespace kvpareto::server {

// {"version", "live", "ready", "models": [...], "requests": [...]}; docs/status-page.md has the
// fields. Prompts and answers are not in it.
std::string StatusJson(const Models& models, const RunningRequests& requests, const Health& health);

}  // namespace kvpareto::server
