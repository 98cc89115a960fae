// Activation-aware weight quantization to 4 bits: a model as an AutoAWQ checkpoint (docs/awq.md).
// Algorithm: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration", MLSys 2024 (arXiv 2306.00978), in the form of AutoAWQ 0.2; rounding: gptq.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/awq_round.h"
#include "autotuner/calibration_text.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct AwqOptions {
  std::string model_path;   // anything the engine loads; its weights are read as floats
  std::string output_path;  // directory of the checkpoint: it must not exist yet
  int group_size = 128;     // input features that share a scale and a zero: 32, 64 or 128
  int samples = 128;        // of calibration text
  int sample_tokens = 512;  // of one sample
  int search_samples = 4;   // of these: what outputs are compared on
  uint64_t seed = 42;       // chooses the samples
  int grid = 20;            // scales tried per set of layers; 0: none
  bool clip = true;         // search clips of the value projection's weights
  int threads = 0;          // 0: one per core
  Rounding rounding = Rounding::kGptq;

  // Rounding to the nearest without scales and clips needs none.
  bool NeedsText() const { return grid > 0 || clip || rounding != Rounding::kNearest; }
  // Errors: INVALID_ARGUMENT (TUNE_OPTION_INVALID) naming the option.
  absl::Status Validate() const;
};

// What the search found for one set of linear layers with a common input.
struct AwqSearched {
  int layer = 0;
  std::string input;            // "attention", "attention_output", "ffn", "ffn_down"
  double ratio = 0.0;           // exponent of the activations' share of the scales
  double error = 0.0;           // of the module's output: AwqScales::error
  double rounding_error = 0.0;  // without scales
};

struct AwqResult {
  std::vector<AwqSearched> searched;  // by layer
  std::string text;                   // names, digests and tokens of the calibration text
  std::string fingerprint;            // of the checkpoint, as a Pareto table names it
  uint64_t weights_bytes = 0;         // of the checkpoint's tensors
  double seconds = 0.0;
};

// Quantizes and writes. The checkpoint appears under its name when it is complete; until then it is
// a folder beside it, removed on failure. Reports progress on stderr. The same machine, model,
// texts and options (but for threads) give the same bytes. Errors: of loading
// the model; INVALID_ARGUMENT (TEXT_TOO_SHORT, TUNE_OPTION_INVALID); ALREADY_EXISTS
// (OUTPUT_EXISTS); OUT_OF_RANGE (WEIGHT_NOT_FINITE, naming the tensor) for values that float16 does
// not hold, (ACTIVATION_NOT_FINITE, naming the layer); INTERNAL (FILE_NOT_WRITABLE).
absl::StatusOr<AwqResult> QuantizeAwq(const AwqOptions& options,
                                      const std::vector<NamedText>& texts);

}  // namespace kvpareto::tune
