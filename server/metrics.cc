#include "server/metrics.h"

#include <prometheus/metric_family.h>

#include "server/memory_snapshot.h"
#include "server/version.h"

namespace kvpareto::server {
namespace {

constexpr char kDeviceMemoryHelp[] =
    "Host: resident memory of the process. GPU: as its driver reports it, whoever uses it.";

using Labels = MetricFamilies::Labels;

void AddMemory(const std::string& model, const EngineStats& stats, MetricFamilies* families) {
  const MemoryTotals totals = Totals(stats);
  const Labels labels = {{"model", model}};
  families->AddGauge("kv_capacity_bytes", "Size of the KV arena.", labels, stats.capacity_bytes);
  for (const auto& [name, bytes] : stats.reserved_bytes) {
    families->AddGauge("kv_reserved_bytes", "Promised to admitted requests.",
                       {{"model", model}, {"class", name}}, bytes);
  }
  for (const auto& [name, limit] : stats.limit_bytes) {
    const Labels by_class = {{"model", model}, {"class", name}};
    const auto found = stats.reserved_bytes.find(name);
    const uint64_t reserved = found == stats.reserved_bytes.end() ? 0 : found->second;
    families->AddGauge("kv_limit_bytes", "The most that the class may hold, as the SLO says.",
                       by_class, limit);
    families->AddGauge("kv_slo_headroom_bytes",
                       "Limit - reserved; below 0 while a lowered limit is not reached yet.",
                       by_class, static_cast<double>(limit) - static_cast<double>(reserved));
  }
  for (const auto& [key, bytes] : stats.kv) {
    const Labels by_config = {
        {"model", model}, {"class", key.service_class}, {"config", key.config}};
    families->AddGauge("kv_allocated_bytes", "Blocks handed out by the arena.", by_config,
                       bytes.allocated_bytes);
    families->AddGauge("kv_live_bytes", "Bytes of allocated blocks that hold tokens.", by_config,
                       bytes.live_bytes);
  }
  for (const auto& [config, bytes] : stats.cached_bytes) {
    families->AddGauge("kv_cached_bytes", "Prefixes of prompts that nobody runs on.",
                       {{"model", model}, {"config", config}}, bytes);
  }
  families->AddGauge("kv_arena_allocated_bytes",
                     "The arena's own count of what it has handed out: the sum of "
                     "kvpareto_kv_allocated_bytes and kvpareto_kv_cached_bytes.",
                     labels, stats.arena_allocated_bytes);
  families->AddCounter("kv_arena_moved_bytes_total", "Moved to close gaps in the arena.", labels,
                       stats.arena_moved_bytes_total);
  families->AddGauge("kv_fragmentation_ratio", "1 - largest free piece / free bytes.", labels,
                     totals.fragmentation_ratio);
  families->AddGauge("kv_utilization_ratio", "Allocated / capacity.", labels,
                     totals.utilization_ratio);
  families->AddGauge("kv_saved_bytes",
                     "What bf16 would take for the live tokens minus what they take.", labels,
                     totals.saved_bytes);
  families->AddGauge("workspace_bytes", "Workspace of the forward pass.", labels,
                     stats.workspace_bytes);
  families->AddGauge("scratch_bytes", "GPU memory of the backend, beside the workspace.", labels,
                     stats.scratch_bytes);
  families->AddGauge("transform_bytes", "Matrices of the KV configs in use.", labels,
                     stats.transform_bytes);
  families->AddGauge("weights_bytes", "Weights in memory.", labels, stats.weights_bytes);
}

void AddCounters(const std::string& model, const EngineStats& stats, MetricFamilies* families) {
  for (const auto& [key, count] : stats.plans_total) {
    families->AddCounter("plans_total", "Chosen KV configs of accepted requests.",
                         {{"model", model},
                          {"class", key.service_class},
                          {"config", key.config},
                          {"reason", key.reason}},
                         count);
  }
  for (const auto& [key, count] : stats.pressure_actions_total) {
    families->AddCounter("pressure_actions_total", "What was done for want of KV memory.",
                         {{"model", model}, {"class", key.first}, {"action", key.second}}, count);
  }
  for (const auto& [config, bytes] : stats.evicted_bytes_total) {
    families->AddCounter("evicted_bytes_total", "Prefixes that the prefix cache has let go.",
                         {{"model", model}, {"config", config}}, bytes);
  }
  for (const auto& [key, bytes] : stats.requantized_bytes_total) {
    families->AddCounter("requantized_bytes_total",
                         "Blocks of running sequences that became smaller, before that.",
                         {{"model", model}, {"from", key.from}, {"to", key.to}}, bytes);
  }
  for (const auto& [result, tokens] : {std::pair("hit", stats.prefix_hit_tokens_total),
                                       std::pair("miss", stats.prefix_miss_tokens_total)}) {
    families->AddCounter("prefix_cache_tokens_total",
                         "Prompt tokens that were found in the prefix cache, or computed for it.",
                         {{"model", model}, {"result", result}}, tokens);
  }
  for (const auto& [name, count] : stats.running) {
    families->AddGauge("requests_running", "Requests that own memory.",
                       {{"model", model}, {"class", name}}, count);
  }
  for (const auto& [name, count] : stats.waiting) {
    families->AddGauge("requests_waiting", "Requests in the queue.",
                       {{"model", model}, {"class", name}}, count);
  }
  for (const auto& [name, count] : stats.prompt_tokens_total) {
    families->AddCounter("prompt_tokens_total", "Prompt tokens of admitted requests.",
                         {{"model", model}, {"class", name}}, count);
  }
  for (const auto& [name, count] : stats.generated_tokens_total) {
    families->AddCounter("generated_tokens_total", "Generated tokens.",
                         {{"model", model}, {"class", name}}, count);
  }
  families->AddGauge("engine_stalled_seconds", "Time without progress while there is work.",
                     {{"model", model}}, stats.stalled_seconds);
  families->AddGauge("engine_failed", "Whether the engine serves nothing until a restart.",
                     {{"model", model}}, stats.failure.empty() ? 0 : 1);
  families->AddCounter("steps_total", "Passes of the model over a batch.", {{"model", model}},
                       stats.steps_total);
}

void AddByClass(const std::string& model, std::string_view name, std::string_view help,
                const std::map<std::string, HistogramSnapshot>& histograms,
                MetricFamilies* families, const char* label = "class") {
  for (const auto& [value, histogram] : histograms) {
    families->AddHistogram(name, help, {{"model", model}, {label, value}}, histogram);
  }
}

void AddHistograms(const std::string& model, const EngineStats& stats, MetricFamilies* families) {
  AddByClass(model, "time_to_first_token_seconds", "From acceptance to the first token.",
             stats.time_to_first_token_seconds, families);
  AddByClass(model, "inter_token_seconds", "Between two tokens of a request.",
             stats.inter_token_seconds, families);
  AddByClass(model, "queue_seconds", "From acceptance to admission.", stats.queue_seconds,
             families);
  AddByClass(model, "request_seconds", "From acceptance to the end.", stats.request_seconds,
             families);
  AddByClass(model, "step_seconds", "Duration of a step.", stats.step_seconds, families, "kind");
  families->AddHistogram("prefill_chunk_tokens", "Prompt tokens of a sequence in one step.",
                         {{"model", model}}, stats.prefill_chunk_tokens);
  families->AddHistogram("plan_prediction_error_ratio",
                         "(Predicted - measured) / measured peak bytes of finished requests.",
                         {{"model", model}}, stats.plan_prediction_error_ratio);
}

void AddInfo(const std::string& model, const Engine& engine, MetricFamilies* families) {
  const ModelInfo& info = engine.model();
  families->AddGauge("model_info", "A model of this server.",
                     {{"model", model},
                      {"fingerprint", info.fingerprint},
                      {"architecture", std::string(ArchitectureName(info.config.architecture))},
                      {"backend", info.backend}},
                     1);
  for (const RefusedRow& row : info.refused_rows) {
    families->AddGauge("table_row_refused", "Rows that failed the self-test at the start.",
                       {{"model", model}, {"config", row.name}}, 1);
  }
  const ParetoTable& table = engine.table();
  families->AddGauge("table_info", "The Pareto table of a model.",
                     {{"model", model},
                      {"fingerprint", table.model_fingerprint},
                      {"schema_version", std::to_string(table.schema_version)},
                      {"rows", std::to_string(table.rows.size())},
                      {"date", table.provenance.date}},
                     1);
}

// What each config of the table costs and gives, so that dashboards can weigh plans with it.
void AddTable(const std::string& model, const ParetoTable& table, MetricFamilies* families) {
  for (const ParetoRow& row : table.rows) {
    families->AddGauge("table_bytes_per_token", "Long-run KV bytes a token of a config.",
                       {{"model", model}, {"config", row.name}}, row.bytes_per_token);
    for (const AccuracyBucket& bucket : row.accuracy) {
      families->AddGauge("table_accuracy_ratio",
                         "Agreement of a config with bf16, lower confidence bound, as measured.",
                         {{"model", model},
                          {"config", row.name},
                          {"max_context_tokens", std::to_string(bucket.max_context_tokens)}},
                         bucket.accuracy_low);
    }
  }
}

void AddSlo(const SloState& state, MetricFamilies* families) {
  families->AddCounter("slo_reload_total", "Readings of the SLO file.", {{"result", "ok"}},
                       state.reloads_ok);
  families->AddCounter("slo_reload_total", "", {{"result", "error"}}, state.reloads_failed);
  if (state.content_hash.empty()) return;
  families->AddGauge("slo_info", "The SLO file in force.", {{"content_hash", state.content_hash}},
                     1);
}

void AddDeviceMemory(const EngineStats& stats, MetricFamilies* families) {
  families->AddGauge("device_memory_bytes", kDeviceMemoryHelp,
                     {{"device", "cuda:0"}, {"state", "used"}}, stats.device_used_bytes);
  families->AddGauge("device_memory_bytes", kDeviceMemoryHelp,
                     {{"device", "cuda:0"}, {"state", "free"}}, stats.device_free_bytes);
}

}  // namespace

void AddEngineStats(const std::string& model, const EngineStats& stats, MetricFamilies* families) {
  AddMemory(model, stats, families);
  AddCounters(model, stats, families);
  AddHistograms(model, stats, families);
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  MetricFamilies families;
  families.AddGauge("build_info", "This program.", {{"version", kServerVersion}}, 1);
  AddSlo(slo_->state(), &families);
  families.AddGauge("device_memory_bytes", kDeviceMemoryHelp,
                    {{"device", "host"}, {"state", "resident"}}, ProcessResidentBytes());
  for (const auto& [key, count] : counter_->Snapshot()) {
    families.AddCounter("requests_total", "Finished requests by gRPC code.",
                        {{"model", key.model}, {"class", key.service_class}, {"code", key.code}},
                        count);
  }
  bool device_seen = false;  // engines on a GPU share the one
  for (const auto& [name, engine] : models_->engines()) {
    AddInfo(name, *engine, &families);
    AddTable(name, engine->table(), &families);
    EngineStats stats = engine->Stats();
    if (!device_seen && stats.device_used_bytes > 0) {
      device_seen = true;
      AddDeviceMemory(stats, &families);
    }
    for (const std::string& service_class : *service_classes_) {
      stats.reserved_bytes.try_emplace(service_class, 0);
      stats.running.try_emplace(service_class, 0);
      stats.waiting.try_emplace(service_class, 0);
    }
    AddEngineStats(name, stats, &families);
  }
  return families.Take();
}

}  // namespace kvpareto::server
