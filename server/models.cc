#include "server/models.h"

#include <utility>

#include "server/log.h"

namespace kvpareto::server {

Models::Models(Map engines, std::string default_name)
    : engines_(std::move(engines)), default_name_(std::move(default_name)) {}

absl::StatusOr<std::unique_ptr<Models>> Models::Load(const ServerConfig& config) {
  Map engines;
  for (const ModelEntry& entry : config.models) {
    LogInfo("loading model", {{"model", entry.name}, {"path", entry.engine.model_path}});
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(entry.engine);
    if (!engine.ok()) return Annotate(engine.status(), "model " + entry.name);
    const ModelInfo& info = (*engine)->model();
    LogInfo("model loaded", {{"model", entry.name},
                             {"backend", info.backend},
                             {"fingerprint", info.fingerprint},
                             {"weights_bytes", info.weights_bytes},
                             {"kv_capacity_bytes", entry.engine.kv_capacity_bytes},
                             {"table_rows", static_cast<int64_t>((*engine)->table().rows.size())},
                             {"seconds", info.load_seconds}});
    for (const RefusedRow& row : info.refused_rows) {
      LogError("table row refused",
               {{"model", entry.name}, {"config", row.name}, {"why", row.why}});
    }
    if (!info.device_note.empty()) {
      LogInfo("device", {{"model", entry.name}, {"note", info.device_note}});
    }
    engines.emplace(entry.name, *std::move(engine));
  }
  return std::make_unique<Models>(std::move(engines), config.default_model);
}

absl::StatusOr<Models::Entry> Models::Find(const std::string& name) const {
  const std::string& key = name.empty() ? default_name_ : name;
  const auto found = engines_.find(key);
  if (found != engines_.end()) return Entry{found->first, found->second.get()};
  std::string known;
  for (const auto& [known_name, engine] : engines_)
    known += (known.empty() ? "" : ", ") + known_name;
  return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                   "no such model; this server has: " + known, {{"model", key}, {"known", known}});
}

}  // namespace kvpareto::server
