#include "engine/scheduler/cache_format.h"

namespace kvpareto {

CacheFormat::CacheFormat(const KvConfig& config, const ModelConfig& model)
    : config(config),
      sealed(SealedLayout(config, model)),
      bf16(kv::BlockLayout::Bf16(model.layers, model.kv_heads, model.head_dim)),
      footprint(Footprint(config, model)) {
  if (config.sink_tokens > 0) {
    sink = kv::BlockLayout::Bf16(model.layers, model.kv_heads, model.head_dim,
                                 static_cast<int>(kv::AlignUp(config.sink_tokens, 16)));
  }
}

std::shared_ptr<const CacheFormat> CacheFormats::Get(const KvConfig& config) {
  std::weak_ptr<const CacheFormat>& slot = by_text_[config.ToString()];
  if (auto format = slot.lock()) return format;
  auto format = std::make_shared<const CacheFormat>(config, model_);
  slot = format;
  return format;
}

}  // namespace kvpareto
