// Everything about storing a sequence's cache that follows from its KV config and the model.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/kv/block_layout.h"
#include "engine/kv/footprint.h"
#include "engine/policy/kv_config.h"

namespace kvpareto {

// Immutable; shared by all sequences of one config.
struct CacheFormat {
  CacheFormat(const KvConfig& config, const ModelConfig& model);

  KvConfig config;
  kv::BlockLayout sealed;
  kv::BlockLayout bf16;  // open and recent blocks
  kv::BlockLayout sink;  // empty without a sink
  kv::FootprintParams footprint;
};

// The formats in use, one per distinct config. Owned by the engine thread.
class CacheFormats {
 public:
  explicit CacheFormats(const ModelConfig& model) : model_(model) {}
  // `config` fits the model (KvConfig::ValidateFor).
  std::shared_ptr<const CacheFormat> Get(const KvConfig& config);

 private:
  const ModelConfig& model_;
  std::map<std::string, std::weak_ptr<const CacheFormat>> by_text_;
};

}  // namespace kvpareto
