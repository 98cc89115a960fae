#include "autotuner/report/report_data.h"

#include <algorithm>

#include "autotuner/report/json_view.h"

namespace kvpareto::tune {
namespace {

constexpr int64_t kSchemaVersion = 1;

Interval ReadInterval(const JsonView& json) {
  return {.value = json.Number("value"), .low = json.Number("low"), .high = json.Number("high")};
}

ReportScore ReadScore(const JsonView& json) {
  ReportScore score{.task = json.Text("task"),
                    .context = json.Integer("context"),
                    .score = json.Number("score"),
                    .reference = json.Number("reference"),
                    .difference = ReadInterval(json.Object("difference")),
                    .relative = {},
                    .items = json.Integer("items"),
                    .changed = json.Integer("changed")};
  if (json.Has("relative")) score.relative = ReadInterval(json.Object("relative"));
  return score;
}

ReportMemory ReadMemory(const JsonView& json) {
  return {.tokens = json.Integer("tokens"),
          .weights = json.Number("weights_bytes"),
          .kv = json.Number("kv_bytes"),
          .workspace = json.Number("workspace_bytes"),
          .total = json.Number("total_bytes"),
          .bits_per_element = json.Number("kv_bits_per_element"),
          .reduction_eager = json.Number("reduction_eager"),
          .reduction_flash = json.Number("reduction_flash")};
}

ReportAccuracy ReadAccuracy(const JsonView& json) {
  return {.context = json.Integer("max_context_tokens"),
          .accuracy = json.Number("accuracy"),
          .low = json.Number("accuracy_low"),
          .kl_mean = json.Number("kl_mean"),
          .kl_p99 = json.Number("kl_p99"),
          .perplexity_ratio = json.Number("perplexity_ratio")};
}

ReportRow ReadRow(const JsonView& json, const std::string& weights) {
  ReportRow row{.name = json.Text("name"),
                .config = json.Text("config"),
                .group = json.Text("group"),
                .stage = json.Text("stage"),
                .failure = json.Text("failure"),
                .techniques = json.Texts("techniques"),
                .layers = {},
                .memory = {},
                .accuracy = {},
                .speed = {},
                .peak = {},
                .tasks = {},
                .score = {},
                .frontier = json.Integers("frontier"),
                .weights = weights};
  for (const JsonView& layer : json.Objects("layers")) {
    row.layers.emplace_back(layer.Text("k"), layer.Text("v"));
  }
  for (const JsonView& memory : json.Objects("memory")) row.memory.push_back(ReadMemory(memory));
  for (const JsonView& bucket : json.Objects("accuracy")) {
    row.accuracy.push_back(ReadAccuracy(bucket));
  }
  if (json.Has("speed")) {
    const JsonView speed = json.Object("speed");
    row.speed = ReportSpeed{.prefill = speed.Number("prefill_tokens_per_second"),
                            .decode = speed.Number("decode_tokens_per_second"),
                            .context = speed.Integer("context_tokens")};
  }
  if (json.Has("measured_memory")) {
    const JsonView peak = json.Object("measured_memory");
    row.peak = ReportPeak{.context = peak.Integer("context_tokens"),
                          .predicted = peak.Integer("predicted_peak_bytes"),
                          .measured = peak.Integer("measured_peak_bytes")};
  }
  for (const JsonView& task : json.Objects("tasks")) row.tasks.push_back(ReadScore(task));
  if (json.Has("score")) row.score = ReadScore(json.Object("score"));
  return row;
}

ReportWeights ReadWeights(const JsonView& json) {
  ReportWeights weights{.kind = json.Text("kind"),
                        .file = json.Text("file"),
                        .fingerprint = json.Text("fingerprint"),
                        .table = json.Text("table"),
                        .calibration = json.Text("calibration_sha256"),
                        .bytes = json.Number("bytes"),
                        .rows = {},
                        .sensitivity = {}};
  for (const JsonView& row : json.Objects("rows")) {
    weights.rows.push_back(ReadRow(row, weights.kind));
  }
  for (const JsonView& layer : json.Objects("layer_sensitivity")) {
    weights.sensitivity.push_back(
        {.layer = layer.Integer("layer"), .k = layer.Numbers("k"), .v = layer.Numbers("v")});
  }
  return weights;
}

ReportTask ReadTask(const JsonView& json) {
  ReportTask task{.name = json.Text("name"),
                  .kind = json.Text("kind"),
                  .digest = json.Text("sha256"),
                  .contexts = {}};
  for (const JsonView& bucket : json.Objects("contexts")) {
    task.contexts.emplace_back(bucket.Integer("context"), bucket.Integer("items"));
  }
  return task;
}

ReportModel ReadModel(const JsonView& json) {
  ReportModel model{.name = json.Text("name"),
                    .full_name = json.Text("full_name"),
                    .layers = json.Integer("layers"),
                    .kv_heads = json.Integer("kv_heads"),
                    .head_dim = json.Integer("head_dim"),
                    .parameters = json.Number("parameters"),
                    .baselines = {},
                    .tasks = {},
                    .weights = {}};
  for (const JsonView& baseline : json.Objects("baselines")) {
    model.baselines.push_back({.tokens = baseline.Integer("tokens"),
                               .weights = baseline.Number("weights_bytes"),
                               .kv = baseline.Number("kv_bytes"),
                               .scores = baseline.Number("scores_bytes"),
                               .eager = baseline.Number("eager_bytes"),
                               .flash = baseline.Number("flash_bytes")});
  }
  for (const JsonView& task : json.Objects("tasks")) model.tasks.push_back(ReadTask(task));
  for (const JsonView& weights : json.Objects("weights")) {
    model.weights.push_back(ReadWeights(weights));
  }
  return model;
}

}  // namespace

const ReportMemory* ReportRow::MemoryAt(int64_t tokens) const {
  const auto found = std::find_if(memory.begin(), memory.end(),
                                  [&](const ReportMemory& m) { return m.tokens == tokens; });
  return found == memory.end() ? nullptr : &*found;
}

const ReportAccuracy* ReportRow::AccuracyAt(int64_t context) const {
  const auto found = std::find_if(accuracy.begin(), accuracy.end(),
                                  [&](const ReportAccuracy& a) { return a.context == context; });
  return found == accuracy.end() ? nullptr : &*found;
}

bool ReportRow::OnFrontier(int64_t context) const {
  return std::find(frontier.begin(), frontier.end(), context) != frontier.end();
}

absl::StatusOr<Report> ParseReport(std::string_view text) {
  const nlohmann::json root = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "RESULTS_INVALID",
                     "results are not a JSON object in UTF-8");
  }
  absl::Status error;
  const JsonView json(root, "results", &error);
  if (error.ok() && json.Integer("schema_version") != kSchemaVersion) {
    return MakeError(absl::StatusCode::kInvalidArgument, "RESULTS_INVALID",
                     "results have not schema_version " + std::to_string(kSchemaVersion));
  }
  Report report{.tool_version = json.Text("tool_version"),
                .command = json.Text("command"),
                .date = json.Text("date"),
                .machine = json.Text("machine"),
                .spec_digest = json.Text("spec_sha256"),
                .text = json.Text("text"),
                .mode = json.Text("mode"),
                .seed = json.Integer("seed"),
                .complete = json.Boolean("complete", true),
                .contexts = json.Integers("contexts"),
                .memory_tokens = json.Integers("memory_tokens"),
                .models = {}};
  for (const JsonView& model : json.Objects("models")) report.models.push_back(ReadModel(model));
  if (!error.ok()) return error;
  return report;
}

}  // namespace kvpareto::tune
