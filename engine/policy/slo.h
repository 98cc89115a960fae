// The memory SLO of a model: what its KV caches may hold in all, what of it each class of clients
// has for certain and may take at most, and how far accuracy may bend before anybody waits.
// docs/slo.md describes the file form.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/policy/choose_config.h"
#include "engine/policy/pareto_table.h"

namespace kvpareto {

// How memory is found for a request when there is not enough, in the order that its class names.
enum class PressureAction : uint8_t {
  kShedPrefixCache,  // drop cached blocks that nobody runs on
  kAdmitLower,       // take a smaller config that still meets target and floor
  kRequantize,       // make running sequences smaller, within their own targets
  kQueue,            // wait for others to end
  kRefuse,           // RESOURCE_EXHAUSTED, with the time after which to try again
};
std::string_view PressureActionName(PressureAction action);
std::vector<PressureAction> AllPressureActions();  // in the order above

// The class of requests that name none.
inline constexpr char kDefaultClass[] = "default";

struct ClassSlo {
  std::string name = kDefaultClass;
  double guaranteed_share = 0.0;              // of the model's limit: always there for this class
  double burst_share = 1.0;                   // of the limit: the most that the class may hold
  std::optional<uint64_t> max_request_bytes;  // blocks and workspace: a budget nobody exceeds
  std::optional<int64_t> max_request_tokens;  // prompt and max_tokens, of one sequence
  std::optional<double> accuracy_floor;       // of every config, whatever the request's target
  int priority = 0;                           // higher ones are admitted first
  std::optional<int> max_queued;              // requests; unset: the server's bound alone
  std::optional<std::chrono::milliseconds> max_wait;  // in the queue; unset: the deadline alone
  bool requantizable = true;  // others may have its running sequences made smaller
  // Ends with kQueue or kRefuse.
  std::vector<PressureAction> pressure = AllPressureActions();
  std::string where;  // "file:line", for messages

  bool Allows(PressureAction action) const;
};

struct ModelSlo {
  std::string model;
  std::variant<double, uint64_t> kv_limit = 1.0;  // share of the arena, or bytes
  // Shares of the limit. Above `high` new requests take smaller configs and running ones are made
  // smaller, until no more than `low` is promised.
  double high_watermark = 1.0;
  double low_watermark = 1.0;
  std::optional<Objective> objective;  // of requests that name none
  std::optional<double> accuracy;      // target of requests that name none
  std::vector<ClassSlo> classes;
  std::string where;

  // The rules for a class: its own, or those of "default" for one that is not listed.
  const ClassSlo& ClassFor(std::string_view name) const;
  uint64_t LimitBytes(uint64_t capacity_bytes) const;
};

struct SloFile {
  static constexpr int kSchemaVersion = 1;
  std::vector<ModelSlo> models;

  const ModelSlo* Find(std::string_view model) const;
};

// The keys of each map of the file, in the order of the documentation.
struct SloKeys {
  std::vector<std::string> file, model, service_class;
};
const SloKeys& AllSloKeys();

// Errors: INVALID_ARGUMENT (SLO_INVALID) with file, line and key: unknown keys, values out of
// range, guaranteed shares that add up to more than 1, watermarks that contradict each other.
absl::StatusOr<SloFile> ParseSlo(const std::string& yaml, const std::string& file_name);
absl::StatusOr<SloFile> LoadSlo(const std::string& path);

// Whether the SLO can hold for this model: its limit is within `capacity_bytes`, and every accuracy
// floor is met by a row. Errors: INVALID_ARGUMENT (SLO_INVALID) with file and line.
absl::Status CheckSlo(const ModelSlo& slo, const ParetoTable& table, uint64_t capacity_bytes);

// The demand under the rules of its class: the target raised to the floor, the budget lowered to
// what a request of the class may take, defaults filled in. Errors: INVALID_ARGUMENT
// (CLASS_TOKEN_LIMIT).
absl::Status ApplySlo(const ModelSlo& slo, const ClassSlo& service_class, KvDemand& demand);

}  // namespace kvpareto
