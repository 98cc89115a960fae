// Whole-model fidelity of many caches on the same texts, against one reference cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/fidelity.h"
#include "autotuner/fidelity_list.h"
#include "autotuner/journal.h"
#include "autotuner/text_file.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct FidelityOptions {
  // Positions first, first + stride, ... of every text are counted.
  int64_t first = 1024;
  int64_t stride = 3;
  KvConfig reference = KvConfig::F32();
  bool prefill_arithmetic = false;  // ScoreOptions
  std::string calibration_digest;   // of the file in use, part of what a result depends on
};

// One cache on one text: its counted positions in order.
struct TextFidelity {
  std::string text;
  std::vector<PositionFidelity> positions;
};

struct ConfigFidelity {
  MeasuredConfig measured;
  std::vector<TextFidelity> texts;  // in the order of the texts
};

// Over the positions of all texts.
double MeanKl(const ConfigFidelity& config);

// Teacher forcing, every token computed as a generated one is (ScoreOptions::decode_from = 0), so
// that every query reads what the cache would hold. Configs are measured in their order; what
// `journal` has is not measured again. The reference's distributions of all texts are kept in
// memory: texts * counted positions * vocabulary * 4 bytes. Errors: of Engine::Score and the
// journal; INVALID_ARGUMENT (NOTHING_COUNTED).
absl::StatusOr<std::vector<ConfigFidelity>> MeasureFidelity(
    Engine& engine, const std::vector<TokenizedText>& texts,
    const std::vector<MeasuredConfig>& configs, const FidelityOptions& options, Journal& journal);

}  // namespace kvpareto::tune
