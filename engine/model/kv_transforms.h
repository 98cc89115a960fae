// The transforms of a KV config, resolved for one model: matrices, static ranges and clips per
// layer.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/transform.h"
#include "engine/model/calibration.h"
#include "engine/model/transform_matrices.h"
#include "engine/ops/backend.h"

namespace kvpareto {

// What decides: the transforms, and the codecs of each layer (per-tensor ones need ranges, and
// calibrated clips are per codec).
struct TransformSpec {
  kv::Transforms transforms;
  std::vector<kv::LayerCodecs> codecs;  // [layers]
};

// Whether `calibration` (null: none) holds what the spec needs. Error: FAILED_PRECONDITION
// (CALIBRATION_MISSING) naming what is missing and the command that makes it.
absl::Status CheckCalibrated(const TransformSpec& spec, const Calibration* calibration);

// Immutable; shared by all sequences of one config.
class KvTransforms {
 public:
  // Errors: of CheckCalibrated and TransformCache::Get.
  static absl::StatusOr<std::shared_ptr<const KvTransforms>> Create(const TransformSpec& spec,
                                                                    const ModelConfig& model,
                                                                    TransformCache& cache);

  // Null when keys, values and queries stay as they are.
  const LayerTransform* layer(int index) const {
    return matrices_ == nullptr ? nullptr : &matrices_->layer(index);
  }
  bool key_bias(int index) const {
    return matrices_ != nullptr && matrices_->layer(index).key_bias != nullptr;
  }
  // [kv_heads]; empty when there is nothing beyond the defaults.
  std::span<const kv::StaticRange> KeyRanges(int layer) const;
  std::span<const kv::StaticRange> ValueRanges(int layer) const;
  // [layers, kv_heads]
  std::span<const kv::StaticRange> AllKeyRanges() const { return k_ranges_; }
  std::span<const kv::StaticRange> AllValueRanges() const { return v_ranges_; }

 private:
  KvTransforms() = default;

  int kv_heads_ = 0;
  std::shared_ptr<const TransformMatrices> matrices_;  // null: the identity
  std::vector<kv::StaticRange> k_ranges_;              // [layers, kv_heads]
  std::vector<kv::StaticRange> v_ranges_;
};

}  // namespace kvpareto
