// Bytes of a KV config on a model (declared in kv_config.h).
#include "engine/policy/kv_config.h"

namespace kvpareto {
namespace {

// Sink tiles are padded to the rows of a matrix tile.
constexpr int kSinkGranularityTokens = 16;

}  // namespace

kv::BlockLayout SealedLayout(const KvConfig& config, const ModelConfig& model) {
  return kv::BlockLayout(config.PerLayer(model.layers), model.kv_heads, model.head_dim);
}

kv::FootprintParams Footprint(const KvConfig& config, const ModelConfig& model) {
  const auto bf16_bytes = [&](int tokens) {
    return kv::BlockLayout::Bf16(model.layers, model.kv_heads, model.head_dim, tokens).bytes();
  };
  const int sink_tile_tokens = (config.sink_tokens + kSinkGranularityTokens - 1) /
                               kSinkGranularityTokens * kSinkGranularityTokens;
  return {.sealed_block_bytes = SealedLayout(config, model).bytes(),
          .bf16_block_bytes = bf16_bytes(kv::kBlockTokens),
          .sink_bytes = config.sink_tokens == 0 ? 0 : bf16_bytes(sink_tile_tokens),
          .sink_tokens = config.sink_tokens,
          .recent_tokens = config.recent_tokens,
          .seals = !config.is_bf16()};
}

double EffectiveBits(const KvConfig& config, const ModelConfig& model, int64_t tokens) {
  if (tokens <= 0) return 0.0;
  const kv::FootprintParams params = Footprint(config, model);
  const auto bytes =
      static_cast<double>(kv::ResidencyBytes(params, kv::ResidencyAt(params, tokens)));
  const double elements =
      2.0 * model.layers * model.kv_heads * model.head_dim * static_cast<double>(tokens);
  return 8.0 * bytes / elements;
}

}  // namespace kvpareto
