// What a search for codecs per layer measured and found: JSON for programs, a list to measure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/fidelity_run.h"
#include "autotuner/layer_search.h"

namespace kvpareto::tune {

struct LayerReport {
  std::string model;
  std::string command;
  std::string machine;
  int layers = 0;
  std::vector<std::string> texts;
  int64_t text_tokens = 0;
  FidelityOptions fidelity;
  LayerSearchOptions search;
  std::vector<double> kl;       // mean KLs of SensitivityConfigs
  std::vector<double> control;  // mean KLs of ControlConfigs
  std::vector<LayerMap> maps;
  std::string name;  // what the names of the maps begin with
};

// {..., "layers": [{"layer": 0, "control": 0.0001, "k": {"int2-channel": 0.01, ...}, "v": {...}},
// ...], "maps": [...]}; mean KLs as measured.
std::string LayersJson(const LayerReport& report);

// For ParseFidelityList; comments say where it comes from and which targets cannot be met.
std::string LayersList(const LayerReport& report);

}  // namespace kvpareto::tune
