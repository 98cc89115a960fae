#include "engine/scheduler/cache_format.h"

#include <algorithm>

namespace kvpareto {
namespace {

// Formats that stay resolved between requests, and with them the matrices of their transforms,
// which are megabytes. Requests may pin any config, so there is a limit.
constexpr size_t kKeptFormats = 16;

}  // namespace

CacheFormat::CacheFormat(const KvConfig& config, const ModelConfig& model,
                         std::shared_ptr<const KvTransforms> transforms)
    : config(config),
      sealed(SealedLayout(config, model)),
      bf16(
          kv::BlockLayout::Open(config.open_codec(), model.layers, model.kv_heads, model.head_dim)),
      footprint(Footprint(config, model)),
      transforms(std::move(transforms)) {
  if (config.sink_tokens > 0) {
    sink = kv::BlockLayout::Open(config.open_codec(), model.layers, model.kv_heads, model.head_dim,
                                 static_cast<int>(kv::AlignUp(config.sink_tokens, 16)));
  }
}

absl::StatusOr<std::shared_ptr<const CacheFormat>> CacheFormats::Get(const KvConfig& config) {
  const std::string text = config.ToString();
  auto format = by_text_[text].lock();
  if (format == nullptr) {
    std::erase_if(by_text_, [](const auto& entry) { return entry.second.expired(); });
    std::shared_ptr<const KvTransforms> transforms;
    if (transforms_ != nullptr && config.needs_transforms()) {
      const TransformSpec spec{.transforms = config.transforms,
                               .codecs = config.PerLayer(model_.layers)};
      KVP_ASSIGN_OR_RETURN(transforms, KvTransforms::Create(spec, model_, *transforms_));
    }
    format = std::make_shared<const CacheFormat>(config, model_, std::move(transforms));
    by_text_[text] = format;
  }
  std::erase(recent_, format);
  recent_.push_front(format);
  if (recent_.size() > kKeptFormats) recent_.pop_back();
  return format;
}

}  // namespace kvpareto
