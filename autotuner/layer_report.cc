#include "autotuner/layer_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace kvpareto::tune {
namespace {

std::vector<std::string> Names(const std::vector<kv::CodecId>& codecs) {
  std::vector<std::string> names;
  for (const kv::CodecId codec : codecs) names.emplace_back(kv::GetCodecInfo(codec).name);
  return names;
}

nlohmann::json SensitivityJson(const LayerReport& report) {
  nlohmann::json layers = nlohmann::json::array();
  size_t next = 0;
  for (int layer = 0; layer < report.layers; ++layer) {
    nlohmann::json json = {{"layer", layer}, {"control", report.control[layer]}};
    for (const std::string& codec : Names(report.search.k_codecs)) {
      json["k"][codec] = report.kl[next++];
    }
    for (const std::string& codec : Names(report.search.v_codecs)) {
      json["v"][codec] = report.kl[next++];
    }
    layers.push_back(std::move(json));
  }
  return layers;
}

}  // namespace

std::string LayersJson(const LayerReport& report) {
  nlohmann::json json = {{"model", report.model},
                         {"command", report.command},
                         {"machine", report.machine},
                         {"reference", report.fidelity.reference.ToString()},
                         {"prefill_arithmetic", report.fidelity.prefill_arithmetic},
                         {"texts", report.texts},
                         {"tokens", report.text_tokens},
                         {"first_position", report.fidelity.first},
                         {"stride", report.fidelity.stride},
                         {"bits_counted_at_tokens", report.search.tokens},
                         {"escalated_layers", report.search.escalated},
                         {"layers", SensitivityJson(report)},
                         {"maps", nlohmann::json::array()}};
  for (const LayerMap& map : report.maps) {
    json["maps"].push_back({{"name", MapName(report.name, map)},
                            {"target_bits", map.target_bits},
                            {"bits_per_element", map.bits},
                            {"estimated_kl_mean", map.estimated_kl},
                            {"config", map.config.ToString()}});
  }
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string LayersList(const LayerReport& report) {
  std::string text = "# " + report.command + "\n";
  if (!report.search.escalated.empty()) {
    absl::StrAppendFormat(&text, "# layers that start one candidate up: %s\n",
                          absl::StrJoin(report.search.escalated, ", "));
  }
  for (const double target : report.search.target_bits) {
    const bool met = std::any_of(report.maps.begin(), report.maps.end(),
                                 [&](const LayerMap& map) { return map.target_bits == target; });
    if (met) continue;
    absl::StrAppendFormat(&text, "# %.2f: even the cheapest candidates take more bits\n", target);
  }
  return text + FormatLayerMaps(report.maps, report.name);
}

}  // namespace kvpareto::tune
