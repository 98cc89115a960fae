// Random servers, SLOs and traffic, small enough that thousands of them run in a second.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "autotuner/simulator/replica.h"
#include "autotuner/simulator/shape.h"
#include "autotuner/simulator/trace.h"
#include "engine/policy/slo.h"

namespace kvpareto::sim {

inline const ModelConfig& ScenarioModel() {
  static const ModelConfig model =
      *ParseShape("layers=2 hidden=64 ffn=64 heads=2 kv_heads=1 head_dim=64 vocab=64 context=4096");
  return model;
}

// Rows whose accuracy falls with length. From bf16 all of them can be reached while a request runs,
// from int8 int4-dense.
inline const ParetoTable& ScenarioTable() {
  static const ParetoTable table = [] {
    const auto row = [](const std::string& name, const std::string& config, double near,
                        double far) {
      ParetoRow made{.name = name, .config = *KvConfig::Parse(config)};
      made.accuracy = {{.max_context_tokens = 512, .accuracy = near, .accuracy_low = near},
                       {.max_context_tokens = 4096, .accuracy = far, .accuracy_low = far}};
      return made;
    };
    ParetoTable made{.model_name = "scenario"};
    made.rows = {
        row("bf16", "k=bf16 v=bf16 sink=16 recent=0 chunk=128", 1.0, 1.0),
        row("int8", "k=int8-token v=int8-token sink=16 recent=0 chunk=256", 0.99, 0.98),
        row("int4", "k=int4-channel v=int4-token-g32 sink=16 recent=64 chunk=64", 0.95, 0.92),
        row("int4-dense", "k=int4-channel v=int4-token sink=16 recent=0 chunk=128", 0.93, 0.90),
        row("int2", "k=int2-channel v=int2-token-g32 sink=0 recent=0 chunk=64", 0.85, 0.75)};
    return made;
  }();
  return table;
}

class RandomScenario {
 public:
  explicit RandomScenario(uint64_t seed) : random_(seed) {}

  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  double Uniform() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }
  bool Chance(double probability) { return Uniform() < probability; }

  ReplicaOptions Options() {
    const uint64_t capacity_bytes = uint64_t{1} << Pick(20, 23);
    return {.scheduling = {.max_prefill_rows = 256 << Pick(0, 2),
                           .max_running_sequences = Pick(2, 24),
                           .max_queued_requests = Pick(4, 64),
                           .prefix_cache_bytes = Chance(0.3) ? 0 : capacity_bytes >> Pick(0, 2)},
            .capacity_bytes = capacity_bytes,
            .cost = {.weight_bytes = 1e6,
                     .bytes_per_second = 1e9,
                     .flops_per_second = 1e9,
                     .overhead_seconds = 1e-3,
                     .flops_per_token = 1e4,
                     .flops_per_attended = 1.0},
            .workspace = [](int chunk) { return uint64_t{100} * chunk; }};
  }

  ModelSlo Slo() {
    ModelSlo slo;
    slo.kv_limit = Chance(0.3) ? 1.0 : 0.4 + 0.6 * Uniform();
    slo.high_watermark = Chance(0.3) ? 1.0 : 0.3 + 0.7 * Uniform();
    slo.low_watermark = slo.high_watermark * (0.5 + 0.5 * Uniform());
    if (Chance(0.5)) slo.accuracy = 0.7 + 0.3 * Uniform();
    double left = 1.0;
    for (const char* name : kClasses) {
      if (Chance(0.3)) continue;
      ClassSlo c;
      c.name = name;
      c.guaranteed_share = Chance(0.5) ? 0.0 : left * 0.7 * Uniform();
      left -= c.guaranteed_share;
      c.burst_share = c.guaranteed_share + (1.0 - c.guaranteed_share) * Uniform() + 1e-6;
      c.burst_share = std::min(1.0, c.burst_share);
      if (Chance(0.3)) c.accuracy_floor = 0.7 + 0.3 * Uniform();
      if (Chance(0.2)) c.max_request_tokens = Pick(500, 4000);
      c.priority = Pick(-1, 1);
      if (Chance(0.3)) c.max_queued = Pick(1, 10);
      if (Chance(0.3)) c.max_wait = std::chrono::milliseconds(Pick(1, 2000));
      c.pressure = Pressure();
      slo.classes.push_back(std::move(c));
    }
    return slo;
  }

  TraceRequest Request(double arrival_seconds) {
    TraceRequest request{.arrival_seconds = arrival_seconds,
                         .prompt_tokens = Chance(0.2) ? Pick(1, 3000) : Pick(1, 400),
                         .service_class = kClasses[Pick(0, 3)]};
    if (Chance(0.6)) request.shared_tokens = Pick(1, 2 * request.prompt_tokens);
    request.max_tokens = Pick(1, 100);
    request.output_tokens = Pick(1, request.max_tokens);
    if (Chance(0.5)) request.kv.accuracy_target = 0.7 + 0.3 * Uniform();
    if (Chance(0.1)) request.kv.pinned_config = ScenarioTable().rows[Pick(0, 4)].name;
    if (Chance(0.5)) request.kv.objective = Objective(Pick(0, 2));
    if (Chance(0.2)) request.deadline_seconds = 3.0 * Uniform();
    return request;
  }

 private:
  static constexpr const char* kClasses[] = {"default", "gold", "batch", "other"};

  std::vector<PressureAction> Pressure() {
    std::vector<PressureAction> actions = {
        PressureAction::kShedPrefixCache, PressureAction::kAdmitLower, PressureAction::kRequantize};
    std::shuffle(actions.begin(), actions.end(), random_);
    actions.resize(Pick(0, 3));
    if (Chance(0.8)) actions.push_back(PressureAction::kQueue);
    if (actions.empty() || Chance(0.5)) actions.push_back(PressureAction::kRefuse);
    if (actions.back() < PressureAction::kQueue) actions.push_back(PressureAction::kRefuse);
    return actions;
  }

  std::mt19937_64 random_;
};

}  // namespace kvpareto::sim
