// The matrices and vectors of a chain of transforms, made once for all KV configs that share it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/transform.h"
#include "engine/model/calibration.h"
#include "engine/ops/backend.h"

namespace kvpareto {

struct HostMatrices;  // the same before they are on the device

// In device memory. Immutable.
class TransformMatrices {
 public:
  TransformMatrices(std::unique_ptr<DeviceBuffer> memory, std::vector<LayerTransform> layers)
      : memory_(std::move(memory)), layers_(std::move(layers)) {}

  const LayerTransform& layer(int index) const { return layers_[index]; }
  uint64_t device_bytes() const { return memory_ ? memory_->bytes() : 0; }

 private:
  std::unique_ptr<DeviceBuffer> memory_;  // null: the chain flags no layer and does nothing else
  std::vector<LayerTransform> layers_;    // [layers]
};

// Thread-safe.
class TransformCache {
 public:
  // `calibration` may be null. All outlive the cache.
  TransformCache(const ModelConfig& model, const Calibration* calibration, Backend* backend);
  ~TransformCache();

  // Does the arithmetic, an inverse per layer, KV head and side, so that Get finds it done: seconds
  // for a large model, not to be spent on the engine thread. The calibration holds what
  // `transforms` needs (CheckCalibrated). Error: INVALID_ARGUMENT (CALIBRATION_INVALID) for a
  // rotation that cannot be inverted.
  absl::Status Prepare(const kv::Transforms& transforms);

  // For the thread that issues the backend's operations; null for the identity. Matrices stay on
  // the device as long as someone holds them. Errors: of Prepare and Backend::Allocate.
  absl::StatusOr<std::shared_ptr<const TransformMatrices>> Get(const kv::Transforms& transforms);

  uint64_t device_bytes() const;  // of all matrices that are held

  const Calibration* calibration() const { return calibration_; }

 private:
  using Prepared = std::pair<std::string, std::shared_ptr<const HostMatrices>>;

  absl::StatusOr<std::shared_ptr<const HostMatrices>> Compute(const kv::Transforms& transforms,
                                                              const std::string& key);

  const ModelConfig& model_;
  const Calibration* const calibration_;
  Backend* const backend_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, std::weak_ptr<const TransformMatrices>> on_device_;
  std::deque<Prepared> prepared_;  // not yet fetched, newest last
};

}  // namespace kvpareto
