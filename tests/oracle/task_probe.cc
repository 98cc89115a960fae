// The tuner's tasks on a tiny model, for the oracle: reads one JSON request a line, writes one JSON
// answer a line.
//   {"op": "score", "metric": M, "output": TEXT, "references": [TEXT]}  ->  {"score": S}
//   {"op": "pieces", "text": TEXT}          ->  {"pieces": [TEXT]}, a token each
//   {"op": "items", "kind": K, "path": FILE, ...}  ->  {"items": [{"id", "bucket", "prompt", ...}]}
// Errors: {"error": message}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "autotuner/task.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {
namespace {

using nlohmann::json;

json Score(const json& request) {
  const auto references = request["references"].get<std::vector<std::string>>();
  const std::optional<Metric> metric = ParseMetric(request["metric"].get<std::string>());
  return {{"score", ScoreText(*metric, request["output"].get<std::string>(), references)}};
}

absl::StatusOr<json> Pieces(const Engine& engine, const json& request) {
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                       engine.Tokenize(request["text"].get<std::string>()));
  json pieces = json::array();
  for (const int32_t token : tokens) pieces.push_back(engine.Detokenize({&token, 1}));
  return json{{"pieces", pieces}};
}

json ItemJson(const Engine& engine, const TaskItem& item) {
  json result = {
      {"id", item.id}, {"bucket", item.bucket}, {"prompt", engine.Detokenize(item.prompt)}};
  if (const auto* answer = std::get_if<Answer>(&item.expected)) {
    result["references"] = answer->references;
    result["metric"] = MetricName(answer->metric);
    result["max_new_tokens"] = answer->max_new_tokens;
    result["stop_strings"] = answer->stop_strings;
  } else if (const auto* choice = std::get_if<Choice>(&item.expected)) {
    result["right"] = choice->right;
    for (const auto& option : choice->options) {
      result["options"].push_back(engine.Detokenize(option));
    }
  }
  return result;
}

absl::StatusOr<json> Items(const Engine& engine, const json& request) {
  const TaskSpec spec{.kind = request.value("kind", ""),
                      .path = request.value("path", ""),
                      .shots_path = request.value("shots_path", ""),
                      .shots = request.value("shots", -1),
                      .max_prompt_tokens = request.value("max_prompt_tokens", 0)};
  KVP_ASSIGN_OR_RETURN(const Task task, MakeTask(engine, spec));
  json items = json::array();
  for (const TaskItem& item : task.items) items.push_back(ItemJson(engine, item));
  return json{{"items", items}};
}

absl::StatusOr<json> Reply(const Engine& engine, const json& request) {
  const auto op = request["op"].get<std::string>();
  if (op == "score") return Score(request);
  if (op == "pieces") return Pieces(engine, request);
  return Items(engine, request);
}

int Run() {
  const support::TempDir folder;
  support::WriteGguf(support::MakeTinyModel({}), folder.File("tiny.gguf"));
  const auto engine = Engine::Create({.model_path = folder.File("tiny.gguf"), .threads = 1});
  if (!engine.ok()) {
    std::cerr << engine.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const auto reply = Reply(**engine, json::parse(line));
    const json out = reply.ok() ? *reply : json{{"error", std::string(reply.status().message())}};
    std::cout << out.dump() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace kvpareto::tune

int main() { return kvpareto::tune::Run(); }
