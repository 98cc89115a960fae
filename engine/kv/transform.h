// What is done to keys and values before a codec sees them. Transforms live outside codecs: they
// act on whole head vectors when a token is stored, and on queries and attention outputs when it is
// read, so every codec works with every transform. docs/codecs.md explains each with its source.
//
//   stored key     k' = M (RoPE_p(k) - RoPE_p(b) - mean)     b: key bias, p: the token's position
//   query          q' = M^-T q, so that q' . k' = q . (...) exactly
//   score          q' . k' + q . RoPE_p(b)
//                  (q . mean is the same for all keys: softmax drops it)
//   stored value   v' = N (v - mean)
//   output         o  = N^-1 o' + mean          (probabilities sum to one)
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace kvpareto::kv {

// The matrix M or N, one per layer and KV head.
enum class Rotation : uint8_t {
  kNone,
  kHadamard,  // orthonormal; block-diagonal over the powers of two that make up head_dim
  kOscar,  // orthonormal, calibrated: eigenbasis of the attention-aware covariance, then Hadamard
  kBalanced,  // calibrated: makes key covariance and query second moment the same, then as kOscar
};

std::string_view RotationName(Rotation rotation);  // "none", "hadamard", "oscar", "balanced"
std::optional<Rotation> FindRotation(std::string_view name);

// How much of the fitted range a codec keeps (int codecs that store scales): a fixed share, or the
// calibrated one of each layer and head.
struct Clip {
  float ratio = 1.0f;  // (0, 1]; ignored when `calibrated`
  bool calibrated = false;
  friend bool operator==(const Clip&, const Clip&) = default;
};

// Of a whole KV config. The same for all layers.
struct Transforms {
  Rotation k_rotation = Rotation::kNone;
  Rotation v_rotation = Rotation::kNone;
  bool k_center = false;  // subtract the calibrated mean of each channel
  bool v_center = false;
  bool remove_key_bias = false;  // exactly, on the layers that the calibration flags
  Clip k_clip, v_clip;
  friend bool operator==(const Transforms&, const Transforms&) = default;

  // Nothing is done to keys and values (clips aside: these only concern encoding).
  bool is_identity() const {
    return k_rotation == Rotation::kNone && v_rotation == Rotation::kNone && !k_center &&
           !v_center && !remove_key_bias;
  }
  // Something must come from a calibration file.
  bool needs_calibration() const {
    const auto fitted = [](Rotation r) {
      return r == Rotation::kOscar || r == Rotation::kBalanced;
    };
    return fitted(k_rotation) || fitted(v_rotation) || k_center || v_center || remove_key_bias ||
           k_clip.calibrated || v_clip.calibrated;
  }
};

}  // namespace kvpareto::kv
