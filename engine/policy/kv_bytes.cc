// Bytes of a KV config on a model (declared in kv_config.h).
#include <algorithm>
#include <string>

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
  const auto open_bytes = [&](int tokens) {
    return kv::BlockLayout::Open(config.open_codec(), model.layers, model.kv_heads, model.head_dim,
                                 tokens)
        .bytes();
  };
  const int sink_tile_tokens = (config.sink_tokens + kSinkGranularityTokens - 1) /
                               kSinkGranularityTokens * kSinkGranularityTokens;
  return {.sealed_block_bytes = SealedLayout(config, model).bytes(),
          .bf16_block_bytes = open_bytes(kv::kBlockTokens),
          .sink_bytes = config.sink_tokens == 0 ? 0 : open_bytes(sink_tile_tokens),
          .sink_tokens = config.sink_tokens,
          .recent_tokens = config.recent_tokens,
          .seals = !config.is_bf16() && !config.is_exact()};
}

bool SharesPrompts(const KvConfig& config) {
  return config.sink_tokens <= config.prefill_chunk_tokens;
}

int64_t SharedPromptTokens(const KvConfig& config, int64_t prompt_tokens) {
  if (!SharesPrompts(config) || prompt_tokens == 0) return 0;
  return (prompt_tokens - 1) / config.prefill_chunk_tokens * config.prefill_chunk_tokens;
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

absl::StatusOr<TokenCodec> WrittenTokenByToken(kv::CodecId codec) {
  constexpr std::string_view kSmooth = "-smooth";
  const kv::CodecInfo& info = kv::GetCodecInfo(codec);
  const auto alone = [](kv::Granularity g) {
    return g == kv::Granularity::kPerToken || g == kv::Granularity::kNone ||
           g == kv::Granularity::kPerTensor;
  };
  if (!alone(info.granularity)) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "CODEC_NEEDS_BLOCKS",
        "tokens of " + std::string(info.name) + " share scales: they cannot be encoded one by one",
        {{"codec", std::string(info.name)}});
  }
  if (!info.name.ends_with(kSmooth)) return TokenCodec{.codec = codec};
  const std::string_view plain = info.name.substr(0, info.name.size() - kSmooth.size());
  return TokenCodec{.codec = kv::FindCodec(plain).value_or(codec), .smooth = true};
}

absl::StatusOr<double> EffectiveBitsOnWrite(const KvConfig& config, const ModelConfig& model,
                                            int64_t tokens) {
  if (tokens <= 0) return 0.0;
  constexpr double kExactBits = 16.0, kMeanBits = 16.0;
  double bits = 0.0;
  for (const kv::LayerCodecs& codecs : config.PerLayer(model.layers)) {
    for (const auto& [role, id] :
         {std::pair(kv::Role::kKey, codecs.k), std::pair(kv::Role::kValue, codecs.v)}) {
      KVP_ASSIGN_OR_RETURN(const TokenCodec written, WrittenTokenByToken(id));
      bits += kv::BitsPerElement(written.codec, role, model.head_dim);
      if (written.smooth) bits += kMeanBits / config.prefill_chunk_tokens;
    }
  }
  bits /= 2.0 * model.layers;
  const auto exact = static_cast<double>(
      std::min<int64_t>(tokens, int64_t{config.sink_tokens} + config.recent_tokens));
  const auto all = static_cast<double>(tokens);
  return (kExactBits * exact + bits * (all - exact)) / all;
}

}  // namespace kvpareto
