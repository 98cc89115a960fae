#include "server/memory_snapshot.h"

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <set>

namespace kvpareto::server {
namespace {

template <typename Value>
Value ValueOr0(const std::map<std::string, Value>& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? Value{0} : found->second;
}

void AddClasses(const EngineStats& stats, v1::ModelMemory* proto) {
  std::set<std::string> classes;
  for (const auto& [name, value] : stats.reserved_bytes) classes.insert(name);
  for (const auto& [name, value] : stats.running) classes.insert(name);
  for (const auto& [name, value] : stats.waiting) classes.insert(name);
  for (const std::string& name : classes) {
    v1::ClassUsage* usage = proto->add_classes();
    usage->set_service_class(name);
    usage->set_reserved_bytes(ValueOr0(stats.reserved_bytes, name));
    usage->set_running(ValueOr0(stats.running, name));
    usage->set_waiting(ValueOr0(stats.waiting, name));
  }
}

}  // namespace

MemoryTotals Totals(const EngineStats& stats) {
  MemoryTotals totals;
  for (const auto& [key, bytes] : stats.kv) {
    totals.allocated_bytes += bytes.allocated_bytes;
    totals.live_bytes += bytes.live_bytes;
    totals.saved_bytes += static_cast<int64_t>(bytes.bf16_bytes - bytes.live_bytes);
  }
  for (const auto& [name, bytes] : stats.reserved_bytes) totals.reserved_bytes += bytes;
  const uint64_t free_bytes = stats.capacity_bytes - stats.arena_allocated_bytes;
  if (free_bytes > 0) {
    totals.fragmentation_ratio =
        1.0 - static_cast<double>(stats.arena_largest_free_bytes) / static_cast<double>(free_bytes);
  }
  if (stats.capacity_bytes > 0) {
    totals.utilization_ratio =
        static_cast<double>(totals.allocated_bytes) / static_cast<double>(stats.capacity_bytes);
  }
  return totals;
}

v1::ModelMemory ToProto(const std::string& model, const EngineStats& stats) {
  const MemoryTotals totals = Totals(stats);
  v1::ModelMemory proto;
  proto.set_model(model);
  proto.set_capacity_bytes(stats.capacity_bytes);
  proto.set_reserved_bytes(totals.reserved_bytes);
  proto.set_allocated_bytes(stats.arena_allocated_bytes);
  proto.set_live_bytes(totals.live_bytes);
  proto.set_saved_bytes(totals.saved_bytes);
  proto.set_largest_free_bytes(stats.arena_largest_free_bytes);
  proto.set_fragmentation_ratio(totals.fragmentation_ratio);
  proto.set_weights_bytes(stats.weights_bytes);
  proto.set_workspace_bytes(stats.workspace_bytes);
  proto.set_transform_bytes(stats.transform_bytes);
  for (const auto& [key, bytes] : stats.kv) {
    v1::KvUsage* usage = proto.add_usage();
    usage->set_service_class(key.service_class);
    usage->set_config_name(key.config);
    usage->set_allocated_bytes(bytes.allocated_bytes);
    usage->set_live_bytes(bytes.live_bytes);
    usage->set_bf16_bytes(bytes.bf16_bytes);
  }
  AddClasses(stats, &proto);
  for (const auto& [config, bytes] : stats.cached_bytes) {
    v1::CachedUsage* cached = proto.add_cached();
    cached->set_config_name(config);
    cached->set_cached_bytes(bytes);
  }
  return proto;
}

absl::StatusOr<v1::MemorySnapshot> TakeMemorySnapshot(const Models& models,
                                                      const std::string& model) {
  v1::MemorySnapshot snapshot;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  snapshot.mutable_time()->set_seconds(nanos / 1'000'000'000);
  snapshot.mutable_time()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  snapshot.set_process_resident_bytes(ProcessResidentBytes());
  if (!model.empty()) {
    KVP_ASSIGN_OR_RETURN(const Models::Entry entry, models.Find(model));
    *snapshot.add_models() = ToProto(entry.name, entry.engine->Stats());
    return snapshot;
  }
  for (const auto& [name, engine] : models.engines()) {
    *snapshot.add_models() = ToProto(name, engine->Stats());
  }
  return snapshot;
}

uint64_t ProcessResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total_pages = 0;
  uint64_t resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace kvpareto::server
