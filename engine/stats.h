// A snapshot of an engine for metrics and status pages. Taken without blocking the engine thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kvpareto {

// Cumulative histogram with fixed upper bounds (the last bucket is +Inf).
struct HistogramSnapshot {
  std::vector<double> upper_bounds;
  std::vector<uint64_t> counts;  // per bucket, not cumulative; upper_bounds.size() + 1 entries
  double sum = 0.0;
};

struct ClassConfigKey {
  std::string service_class;
  std::string config;  // row name, or "pinned"
  friend auto operator<=>(const ClassConfigKey&, const ClassConfigKey&) = default;
};

struct KvBytes {
  uint64_t allocated_bytes = 0;  // extents handed out by the arena
  uint64_t live_bytes = 0;       // of those, the part that holds tokens
  uint64_t bf16_bytes = 0;       // what the live tokens would take in bf16
};

struct EngineStats {
  // Memory, all of one instant: the sums of kv[..].allocated_bytes and of cached_bytes make
  // arena_allocated_bytes. Blocks that sequences share are counted once.
  uint64_t capacity_bytes = 0;
  uint64_t arena_allocated_bytes = 0;
  uint64_t arena_largest_free_bytes = 0;
  uint64_t arena_moved_bytes_total = 0;
  uint64_t weights_bytes = 0;
  uint64_t workspace_bytes = 0;
  // Of the backend, beside the workspace; and of the device as its driver reports it, whoever uses
  // it. All 0 where host memory is used.
  uint64_t scratch_bytes = 0;
  uint64_t device_used_bytes = 0;
  uint64_t device_free_bytes = 0;
  uint64_t transform_bytes = 0;  // matrices of the KV configs in use
  std::map<ClassConfigKey, KvBytes> kv;
  std::map<std::string, uint64_t> cached_bytes;    // by config: prefixes that nobody runs on
  std::map<std::string, uint64_t> reserved_bytes;  // by class
  std::map<std::string, uint64_t> limit_bytes;  // by class: the most it may hold, as the SLO says
  std::map<std::string, int> running;           // requests, by class
  std::map<std::string, int> waiting;

  // Counters since start.
  struct PlanKey {
    std::string service_class, config, reason;
    friend auto operator<=>(const PlanKey&, const PlanKey&) = default;
  };
  std::map<PlanKey, uint64_t> plans_total;
  // What was done for want of memory and had an effect: (class, action).
  std::map<std::pair<std::string, std::string>, uint64_t> pressure_actions_total;
  std::map<std::string, uint64_t> prompt_tokens_total;     // by class
  std::map<std::string, uint64_t> generated_tokens_total;  // by class
  uint64_t steps_total = 0;
  std::map<std::string, uint64_t> evicted_bytes_total;  // of the prefix cache, by config
  struct RequantizedKey {
    std::string from, to;
    friend auto operator<=>(const RequantizedKey&, const RequantizedKey&) = default;
  };
  std::map<RequantizedKey, uint64_t> requantized_bytes_total;  // of running sequences, before
  uint64_t prefix_hit_tokens_total = 0;   // prompt tokens found in the prefix cache
  uint64_t prefix_miss_tokens_total = 0;  // and those that were computed although shared

  // By class.
  std::map<std::string, HistogramSnapshot> time_to_first_token_seconds;
  std::map<std::string, HistogramSnapshot> inter_token_seconds;
  std::map<std::string, HistogramSnapshot> queue_seconds;
  std::map<std::string, HistogramSnapshot> request_seconds;
  std::map<std::string, HistogramSnapshot> step_seconds;  // by kind: "prefill", "decode", "mixed"
  HistogramSnapshot prefill_chunk_tokens;
  HistogramSnapshot plan_prediction_error_ratio;

  bool draining = false;
  // How long nothing has progressed (no step ended, no request came or went) while there is work:
  // the age of the step in progress, as long as steps end.
  double stalled_seconds = 0.0;
  // Why the engine refuses everything until the process is restarted, in words; empty: it does not.
  std::string failure;
};

}  // namespace kvpareto
