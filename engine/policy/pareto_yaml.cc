// The Pareto table's file form (declared in pareto_table.h; keys in docs/pareto-table.md).
#include <charconv>
#include <limits>
#include <set>
#include <string>
#include <type_traits>

#include "engine/policy/pareto_table.h"
#include "engine/policy/yaml_map.h"

namespace kvpareto {
namespace {

constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();
constexpr double kMaxNumber = 1e18;
constexpr size_t kMaxNameLength = 64;

void ReadUnsigned(YamlMap& map, const std::string& key, uint64_t& value) {
  int64_t read = 0;
  map.Integer(key, 0, kMaxInteger, read);
  value = static_cast<uint64_t>(read);
}

void ReadProvenance(YamlMap map, TableProvenance& provenance) {
  map.String("command", provenance.command);
  map.String("date", provenance.date);
  map.String("machine", provenance.machine);
  map.String("text", provenance.text);
  map.String("tool_version", provenance.tool_version);
  map.Finish();
}

void ReadBucket(YamlMap& map, int64_t previous_max, AccuracyBucket& bucket) {
  map.Integer("max_context_tokens", 1, kMaxInteger, bucket.max_context_tokens);
  map.Number("accuracy", 0.0, 1.0, bucket.accuracy);
  map.Number("accuracy_low", 0.0, 1.0, bucket.accuracy_low);
  map.Number("kl_mean", 0.0, kMaxNumber, bucket.kl_mean);
  map.Number("kl_p99", 0.0, kMaxNumber, bucket.kl_p99);
  map.Number("perplexity_ratio", 0.0, kMaxNumber, bucket.perplexity_ratio);
  map.Integer("samples", 0, kMaxInteger, bucket.samples);
  if (bucket.max_context_tokens <= previous_max) {
    map.Fail("max_context_tokens", "buckets must ascend");
  }
  if (bucket.accuracy_low > bucket.accuracy) map.Fail("accuracy_low", "is above accuracy");
  map.Finish();
}

void ReadSpeed(YamlMap map, SpeedPoint& speed) {
  map.Number("prefill_tokens_per_second", 0.0, kMaxNumber, speed.prefill_tokens_per_second);
  map.Number("decode_tokens_per_second", 0.0, kMaxNumber, speed.decode_tokens_per_second);
  map.Integer("context_tokens", 0, kMaxInteger, speed.context_tokens);
  map.Finish();
}

bool IsRowName(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= kMaxNameLength &&
         name.find_first_not_of(kAllowed) == name.npos && name != "pinned";
}

void ReadRow(YamlMap& map, ParetoRow& row) {
  map.String("name", row.name);
  if (!IsRowName(row.name)) {
    map.Fail("name", "must be 1.." + std::to_string(kMaxNameLength) +
                         " letters, digits, '.', '_' or '-', and not 'pinned'");
  }
  std::string config;
  map.String("config", config);
  if (auto parsed = KvConfig::Parse(config); parsed.ok()) {
    row.config = *std::move(parsed);
  } else {
    map.Fail("config", std::string(parsed.status().message()));
  }
  map.Number("bytes_per_token", 0.0, kMaxNumber, row.bytes_per_token);
  ReadUnsigned(map, "fixed_bytes", row.fixed_bytes);
  ReadUnsigned(map, "workspace_bytes", row.workspace_bytes);
  int64_t previous_max = 0;
  for (YamlMap& bucket_map : map.Maps("accuracy")) {
    ReadBucket(bucket_map, previous_max, row.accuracy.emplace_back());
    previous_max = row.accuracy.back().max_context_tokens;
  }
  ReadSpeed(map.Map("speed"), row.speed);
  map.Finish();
}

void ReadTable(YamlMap map, ParetoTable& table) {
  int64_t version = 0;
  map.Integer("schema_version", 1, kMaxInteger, version);
  if (version != ParetoTable::kSchemaVersion) {
    map.Fail("schema_version", std::to_string(version) + " is not the version this build reads: " +
                                   std::to_string(ParetoTable::kSchemaVersion));
  }
  YamlMap model = map.Map("model");
  model.String("name", table.model_name);
  model.String("fingerprint", table.model_fingerprint);
  if (table.model_fingerprint.empty()) model.Fail("fingerprint", "is empty");
  model.Finish();
  ReadProvenance(map.Map("provenance"), table.provenance);
  std::set<std::string> names;
  for (YamlMap& row_map : map.Maps("rows")) {
    ReadRow(row_map, table.rows.emplace_back());
    if (!names.insert(table.rows.back().name).second) {
      row_map.Fail("name", "'" + table.rows.back().name + "' is the name of an earlier row");
    }
  }
  if (table.rows.empty()) map.Fail("rows", "is empty");
  map.Finish();
}

// A double-quoted YAML scalar that reads back as `text`.
std::string Quote(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += "\\x";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// "  key: value\n"; floating-point numbers in the shortest form that reads back exactly.
template <typename T>
std::string Line(std::string_view key, const T& value) {
  std::string text(key);
  text += ": ";
  if constexpr (std::is_arithmetic_v<T>) {
    char digits[32];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  } else {
    text += Quote(value);
  }
  return text + '\n';
}

std::string FormatRow(const ParetoRow& row) {
  std::string yaml = Line("  - name", row.name) + Line("    config", row.config.ToString()) +
                     Line("    bytes_per_token", row.bytes_per_token) +
                     Line("    fixed_bytes", row.fixed_bytes) +
                     Line("    workspace_bytes", row.workspace_bytes) +
                     (row.accuracy.empty() ? "    accuracy: []\n" : "    accuracy:\n");
  for (const AccuracyBucket& bucket : row.accuracy) {
    yaml += Line("      - max_context_tokens", bucket.max_context_tokens) +
            Line("        accuracy", bucket.accuracy) +
            Line("        accuracy_low", bucket.accuracy_low) +
            Line("        kl_mean", bucket.kl_mean) + Line("        kl_p99", bucket.kl_p99) +
            Line("        perplexity_ratio", bucket.perplexity_ratio) +
            Line("        samples", bucket.samples);
  }
  return yaml + "    speed:\n" +
         Line("      prefill_tokens_per_second", row.speed.prefill_tokens_per_second) +
         Line("      decode_tokens_per_second", row.speed.decode_tokens_per_second) +
         Line("      context_tokens", row.speed.context_tokens);
}

}  // namespace

absl::StatusOr<ParetoTable> ParseParetoTable(const std::string& yaml,
                                             const std::string& file_name) {
  YamlErrors errors{.file_name = file_name, .reason = "TABLE_INVALID", .first = {}};
  ParetoTable table;
  KVP_RETURN_IF_ERROR(
      ReadYaml(yaml, errors, [&](YamlMap map) { ReadTable(std::move(map), table); }));
  return table;
}

std::string FormatParetoTable(const ParetoTable& table) {
  std::string yaml =
      Line("schema_version", table.schema_version) + "model:\n" + Line("  name", table.model_name) +
      Line("  fingerprint", table.model_fingerprint) + "provenance:\n" +
      Line("  command", table.provenance.command) + Line("  date", table.provenance.date) +
      Line("  machine", table.provenance.machine) + Line("  text", table.provenance.text) +
      Line("  tool_version", table.provenance.tool_version) +
      (table.rows.empty() ? "rows: []\n" : "rows:\n");
  for (const ParetoRow& row : table.rows) yaml += FormatRow(row);
  return yaml;
}

}  // namespace kvpareto
