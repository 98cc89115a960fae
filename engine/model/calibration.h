// What is measured of a model's keys and values before it serves (kvpareto-tune calibrate): means,
// rotations, static ranges, clip ratios. Bound to the weights by their fingerprint.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/transform.h"
#include "engine/model/model_config.h"
#include "engine/model/square_matrix.h"  // BlockHadamard: the matrix of Rotation::kHadamard

namespace kvpareto {

// The names of transform chains, as part of tensor names: what a codec's input went through.
// "plain", or words joined by '-' in the order of application: "unbiased", "center", then the
// rotation: "unbiased-center-balanced". Values have no "unbiased".
std::string KeyBasis(const kv::Transforms& transforms);
std::string ValueBasis(const kv::Transforms& transforms);

// Tensors by name, all F32, L = layers, H = KV heads, D = head_dim:
//   key_bias            [L, H, D]     of the K projection, before RoPE; zero on layers that are not
//                                     flagged: there nothing is removed
//   key_mean            [L, H, D]     of keys after RoPE
//   key_mean_unbiased   [L, H, D]     the same after removal of RoPE_p(key_bias)
//   value_mean          [L, H, D]
//   key_rotation.R      [L, H, D, D]  M of kv/transform.h for the rotation R = oscar or balanced,
//   value_rotation.R    [L, H, D, D]  and N; invertible
//   k_range.BASIS       [L, H, 2]     smallest and largest element of what the codec is given
//   v_range.BASIS       [L, H, 2]
//   k_clip.BASIS.CODEC  [L, H]        clip ratio with the least square error, in (0, 1]
//   v_clip.BASIS.CODEC  [L, H]
// A file holds those that its maker was asked for.
struct Calibration {
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };

  std::string fingerprint;  // of the model it was measured on
  std::string text;         // what it was measured with, for people
  std::map<std::string, Tensor> tensors;

  // Null when there is none.
  const Tensor* Find(std::string_view name) const;
  // The layer's part of a tensor that is there.
  std::span<const float> LayerSlice(const std::string& name, int layer) const;
};

// A safetensors file; fingerprint and text are in its metadata. Unknown tensors are ignored.
// Errors: as files; INVALID_ARGUMENT (CALIBRATION_INVALID) for wrong shapes or types, values that
// are not finite, ranges whose ends are swapped, clips outside (0, 1]; FAILED_PRECONDITION
// (CALIBRATION_MODEL_MISMATCH) for another model's file.
absl::StatusOr<Calibration> LoadCalibration(const std::string& path, const ModelConfig& model,
                                            const std::string& fingerprint);
absl::Status SaveCalibration(const Calibration& calibration, const std::string& path);

}  // namespace kvpareto
