// Everything about storing a sequence's cache that follows from its KV config and the model.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/kv/block_layout.h"
#include "engine/kv/footprint.h"
#include "engine/model/kv_transforms.h"
#include "engine/policy/kv_config.h"

namespace kvpareto {

// Immutable; shared by all sequences of one config.
struct CacheFormat {
  CacheFormat(const KvConfig& config, const ModelConfig& model,
              std::shared_ptr<const KvTransforms> transforms = nullptr);

  KvConfig config;
  kv::BlockLayout sealed;
  kv::BlockLayout bf16;  // open and recent blocks
  kv::BlockLayout sink;  // empty without a sink
  kv::FootprintParams footprint;
  std::shared_ptr<const KvTransforms> transforms;  // null: keys and values stay as they are
};

// The formats in use, one per distinct config. Owned by the engine thread.
class CacheFormats {
 public:
  // Both outlive this. Without `transforms`, formats have none: they tell sizes only.
  CacheFormats(const ModelConfig& model, TransformCache* transforms)
      : model_(model), transforms_(transforms) {}
  // `config` fits the model (KvConfig::ValidateFor). Errors: of KvTransforms::Create.
  absl::StatusOr<std::shared_ptr<const CacheFormat>> Get(const KvConfig& config);

 private:
  const ModelConfig& model_;
  TransformCache* transforms_;
  std::map<std::string, std::weak_ptr<const CacheFormat>> by_text_;
  std::deque<std::shared_ptr<const CacheFormat>> recent_;  // kept although unused: newest first
};

}  // namespace kvpareto
