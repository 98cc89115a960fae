// The SLO's file form (declared in slo.h; keys in docs/slo.md).
#include <algorithm>
#include <charconv>
#include <set>

#include "engine/base/mapped_file.h"
#include "engine/base/units.h"
#include "engine/policy/slo.h"
#include "engine/policy/yaml_map.h"

namespace kvpareto {
namespace {

constexpr size_t kMaxSloBytes = 1 << 20;
constexpr int64_t kMaxCount = 1'000'000;
constexpr int64_t kMaxTokens = int64_t{1} << 32;
constexpr size_t kMaxNameLength = 64;
constexpr double kRounding = 1e-9;  // of shares that add up to 1

// As names in the server's configuration.
bool IsName(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:";
  return !name.empty() && name.size() <= kMaxNameLength &&
         name.find_first_not_of(kAllowed) == name.npos;
}

void ReadName(YamlMap& map, const std::string& key, std::string& name) {
  map.String(key, name);
  if (!IsName(name)) map.Fail(key, "must be 1 to 64 letters, digits or any of - _ . / :");
}

// What `parse` makes of the key's text; an absent key leaves `value` alone.
template <typename T, typename Parse>
void ReadParsed(YamlMap& map, const std::string& key, Parse parse, T& value) {
  if (!map.Has(key)) return;
  std::string text;
  map.String(key, text);
  if (auto parsed = parse(text); parsed.ok()) {
    value = *parsed;
  } else {
    map.Fail(key, std::string(parsed.status().message()));
  }
}

void ReadShare(YamlMap& map, const std::string& key, double& share) {
  if (map.Has(key)) map.Number(key, 0.0, 1.0, share);
}

void ReadShare(YamlMap& map, const std::string& key, std::optional<double>& share) {
  if (map.Has(key)) map.Number(key, 0.0, 1.0, share.emplace());
}

template <typename T>
void ReadCount(YamlMap& map, const std::string& key, int64_t min, int64_t max, T& count) {
  if (!map.Has(key)) return;
  int64_t read = 0;
  map.Integer(key, min, max, read);
  count = static_cast<T>(read);
}

template <typename T>
void ReadCount(YamlMap& map, const std::string& key, int64_t min, int64_t max,
               std::optional<T>& count) {
  if (map.Has(key)) ReadCount(map, key, min, max, count.emplace());
}

void ReadFlag(YamlMap& map, const std::string& key, bool& flag) {
  if (!map.Has(key)) return;
  std::string text;
  map.String(key, text);
  if (text != "true" && text != "false") map.Fail(key, "is true or false");
  flag = text == "true";
}

absl::StatusOr<PressureAction> ParseAction(const std::string& name) {
  std::string known;
  for (const PressureAction action : AllPressureActions()) {
    if (PressureActionName(action) == name) return action;
    known += (known.empty() ? "" : ", ") + std::string(PressureActionName(action));
  }
  std::string message("'");
  message.append(name, 0, kMaxNameLength).append("' is no pressure action; there are ") += known;
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<Objective> ParseObjective(const std::string& name) {
  for (const auto objective : {Objective::kAccuracy, Objective::kMemory, Objective::kSpeed}) {
    if (ObjectiveName(objective) == name) return objective;
  }
  return absl::InvalidArgumentError("is accuracy, memory or speed");
}

// "75%" of the arena, or bytes with a unit.
absl::StatusOr<std::variant<double, uint64_t>> ParseLimit(const std::string& text) {
  if (text.empty() || text.back() != '%') {
    KVP_ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(text));
    if (bytes == 0) return absl::InvalidArgumentError("is 0 bytes");
    return bytes;
  }
  double percent = 0.0;
  const char* end = text.data() + text.size() - 1;
  const auto [rest, error] = std::from_chars(text.data(), end, percent);
  if (error != std::errc() || rest != end || !(percent > 0.0 && percent <= 100.0)) {
    return absl::InvalidArgumentError("is no share above 0% and up to 100%");
  }
  return percent / 100.0;
}

void ReadPressure(YamlMap& map, std::vector<PressureAction>& actions) {
  if (!map.Has("pressure")) return;
  std::vector<std::string> names;
  map.Strings("pressure", names);
  actions.clear();
  for (const std::string& name : names) {
    const auto action = ParseAction(name);
    if (!action.ok()) return map.Fail("pressure", std::string(action.status().message()));
    if (std::find(actions.begin(), actions.end(), *action) != actions.end()) {
      return map.Fail("pressure", name + " stands there twice");
    }
    const bool after_last =
        !actions.empty() &&
        (actions.back() == PressureAction::kRefuse ||
         (actions.back() == PressureAction::kQueue && *action != PressureAction::kRefuse));
    if (after_last) return map.Fail("pressure", "nothing but refuse comes after queue");
    actions.push_back(*action);
  }
  if (actions.empty() || actions.back() < PressureAction::kQueue) {
    map.Fail("pressure", "must end with queue or refuse");
  }
}

void ReadClass(YamlMap& map, ClassSlo& c) {
  c.where = map.Where();
  ReadName(map, "name", c.name);
  ReadShare(map, "guaranteed_share", c.guaranteed_share);
  ReadShare(map, "burst_share", c.burst_share);
  ReadParsed(map, "max_request_bytes", ParseByteSize, c.max_request_bytes);
  ReadCount(map, "max_request_tokens", 1, kMaxTokens, c.max_request_tokens);
  ReadShare(map, "accuracy_floor", c.accuracy_floor);
  ReadCount(map, "priority", -1000, 1000, c.priority);
  ReadCount(map, "max_queued", 1, kMaxCount, c.max_queued);
  ReadParsed(map, "max_wait", ParseDuration, c.max_wait);
  ReadFlag(map, "requantizable", c.requantizable);
  ReadPressure(map, c.pressure);
  if (c.burst_share < c.guaranteed_share) map.Fail("burst_share", "is below guaranteed_share");
  if (c.burst_share == 0.0) map.Fail("burst_share", "is 0: no request could ever run");
  map.Finish();
}

void ReadClasses(YamlMap& map, ModelSlo& slo) {
  if (!map.Has("classes")) return;
  std::set<std::string> names;
  double guaranteed = 0.0;
  for (YamlMap& entry : map.Maps("classes")) {
    ClassSlo& c = slo.classes.emplace_back();
    ReadClass(entry, c);
    guaranteed += c.guaranteed_share;
    if (!names.insert(c.name).second) entry.Fail("name", "is used twice");
    if (guaranteed > 1.0 + kRounding) {
      entry.Fail("guaranteed_share", "the guaranteed shares of the model add up to more than 1");
    }
  }
}

void ReadModel(YamlMap& map, ModelSlo& slo) {
  slo.where = map.Where();
  ReadName(map, "model", slo.model);
  ReadParsed(map, "kv_limit", ParseLimit, slo.kv_limit);
  ReadShare(map, "high_watermark", slo.high_watermark);
  if (map.Has("low_watermark")) {
    ReadShare(map, "low_watermark", slo.low_watermark);
  } else {
    slo.low_watermark = slo.high_watermark;
  }
  ReadParsed(map, "objective", ParseObjective, slo.objective);
  ReadShare(map, "accuracy", slo.accuracy);
  if (slo.high_watermark == 0.0) map.Fail("high_watermark", "is 0");
  if (slo.low_watermark > slo.high_watermark) {
    map.Fail("low_watermark", "is above high_watermark");
  }
  ReadClasses(map, slo);
  map.Finish();
}

void ReadFileMap(YamlMap map, SloFile& file) {
  int64_t version = 0;
  map.Integer("schema_version", 1, SloFile::kSchemaVersion, version);
  std::set<std::string> names;
  for (YamlMap& entry : map.Maps("models")) {
    ReadModel(entry, file.models.emplace_back());
    if (!names.insert(file.models.back().model).second) entry.Fail("model", "is used twice");
  }
  map.Finish();
}

}  // namespace

const SloKeys& AllSloKeys() {
  static const SloKeys keys = {
      .file = {"schema_version", "models"},
      .model = {"model", "kv_limit", "high_watermark", "low_watermark", "objective", "accuracy",
                "classes"},
      .service_class = {"name", "guaranteed_share", "burst_share", "max_request_bytes",
                        "max_request_tokens", "accuracy_floor", "priority", "max_queued",
                        "max_wait", "requantizable", "pressure"}};
  return keys;
}

absl::StatusOr<SloFile> ParseSlo(const std::string& yaml, const std::string& file_name) {
  SloFile file;
  YamlErrors errors{.file_name = file_name, .reason = "SLO_INVALID", .first = {}};
  KVP_RETURN_IF_ERROR(
      ReadYaml(yaml, errors, [&](YamlMap map) { ReadFileMap(std::move(map), file); }));
  return file;
}

absl::StatusOr<SloFile> LoadSlo(const std::string& path) {
  KVP_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxSloBytes));
  return ParseSlo(yaml, path);
}

}  // namespace kvpareto
