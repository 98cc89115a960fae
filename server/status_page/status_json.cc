#include "server/status_page/status_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "server/memory_snapshot.h"
#include "server/version.h"

namespace kvpareto::server {
namespace {

using Json = nlohmann::ordered_json;

// Bytes by config, over all classes.
Json ConfigsJson(const EngineStats& stats) {
  std::map<std::string, KvBytes> configs;
  for (const auto& [key, bytes] : stats.kv) {
    KvBytes& sum = configs[key.config];
    sum.allocated_bytes += bytes.allocated_bytes;
    sum.live_bytes += bytes.live_bytes;
  }
  Json list = Json::array();
  for (const auto& [name, bytes] : configs) {
    list.push_back({{"config", name},
                    {"allocated_bytes", bytes.allocated_bytes},
                    {"live_bytes", bytes.live_bytes}});
  }
  return list;
}

// The table's rows and how often each was chosen. Accuracy is that of the longest contexts
// measured.
Json RowsJson(const ParetoTable& table, const EngineStats& stats) {
  std::map<std::string, uint64_t> chosen;
  for (const auto& [key, count] : stats.plans_total) chosen[key.config] += count;
  Json list = Json::array();
  for (const ParetoRow& row : table.rows) {
    Json out = {{"name", row.name},
                {"config", row.config.ToString()},
                {"bytes_per_token", row.bytes_per_token},
                {"accuracy", nullptr},
                {"chosen", chosen[row.name]}};
    if (!row.accuracy.empty()) out["accuracy"] = row.accuracy.back().accuracy_low;
    list.push_back(std::move(out));
  }
  return list;
}

uint64_t CachedBytes(const EngineStats& stats) {
  uint64_t sum = 0;
  for (const auto& [config, bytes] : stats.cached_bytes) sum += bytes;
  return sum;
}

// From the requests that are listed beside them, so that the two never disagree.
int Count(const std::vector<RunningRequest>& requests, const std::string& model, bool admitted) {
  return static_cast<int>(
      std::count_if(requests.begin(), requests.end(), [&](const RunningRequest& request) {
        return request.model == model && request.admitted == admitted;
      }));
}

Json ModelJson(const std::string& name, const Engine& engine,
               const std::vector<RunningRequest>& requests) {
  const EngineStats stats = engine.Stats();
  const MemoryTotals totals = Totals(stats);
  return {{"name", name},
          {"backend", engine.model().backend},
          {"capacity_bytes", stats.capacity_bytes},
          {"reserved_bytes", totals.reserved_bytes},
          {"allocated_bytes", stats.arena_allocated_bytes},
          {"live_bytes", totals.live_bytes},
          {"cached_bytes", CachedBytes(stats)},
          {"saved_bytes", totals.saved_bytes},
          {"weights_bytes", stats.weights_bytes},
          {"workspace_bytes", stats.workspace_bytes},
          {"running", Count(requests, name, true)},
          {"waiting", Count(requests, name, false)},
          {"configs", ConfigsJson(stats)},
          {"table", RowsJson(engine.table(), stats)}};
}

Json RequestJson(const RunningRequest& request) {
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - request.start;
  return {{"request_id", request.request_id},
          {"model", request.model},
          {"service_class", request.service_class},
          {"state", request.admitted ? "running" : "waiting"},
          {"config", request.config},
          {"predicted_peak_bytes", request.predicted_peak_bytes},
          {"prompt_tokens", request.prompt_tokens},
          {"generated_tokens", request.generated_tokens},
          {"max_tokens", request.max_tokens},
          {"seconds", age.count()}};
}

}  // namespace

std::string StatusJson(const Models& models, const RunningRequests& requests,
                       const Health& health) {
  Json status = {{"version", kServerVersion},
                 {"live", health.live()},
                 {"ready", health.ready()},
                 {"models", Json::array()},
                 {"requests", Json::array()}};
  const std::vector<RunningRequest> list = requests.Snapshot();
  for (const auto& [name, engine] : models.engines()) {
    status["models"].push_back(ModelJson(name, *engine, list));
  }
  for (const auto& request : list) status["requests"].push_back(RequestJson(request));
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kvpareto::server
