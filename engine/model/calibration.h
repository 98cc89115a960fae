// What is measured of a model's keys and values before it serves: static ranges for codecs that
// store no scales of their own ("...-tensor"). Bound to the weights by their fingerprint.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/codec.h"
#include "engine/model/model_config.h"

namespace kvpareto {

struct Calibration {
  std::string fingerprint;                      // of the model it was measured on
  std::string text;                             // what it was measured with, for people
  std::vector<std::vector<kv::StaticRange>> k;  // [layers][kv_heads], keys after RoPE
  std::vector<std::vector<kv::StaticRange>> v;  // [layers][kv_heads]

  std::span<const kv::StaticRange> KeyRanges(int layer) const;
  std::span<const kv::StaticRange> ValueRanges(int layer) const;
};

// A safetensors file with F32 tensors k_min, k_max, v_min, v_max [layers, kv_heads] and the
// fingerprint in its metadata. Errors: as files; INVALID_ARGUMENT (CALIBRATION_INVALID) for missing
// tensors or wrong shapes; FAILED_PRECONDITION (CALIBRATION_MODEL_MISMATCH) for another model's
// file.
absl::StatusOr<Calibration> LoadCalibration(const std::string& path, const ModelConfig& model,
                                            const std::string& fingerprint);
absl::Status SaveCalibration(const Calibration& calibration, const std::string& path);

}  // namespace kvpareto
