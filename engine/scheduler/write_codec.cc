#include "engine/scheduler/write_codec.h"

#include <algorithm>

#include "engine/base/float16.h"

namespace kvpareto {
namespace {

constexpr int kRoles = 2;

}  // namespace

absl::StatusOr<WriteCodec> WriteCodec::Create(const KvConfig& config, const ModelConfig& model,
                                              const KvTransforms* transforms) {
  WriteCodec result(model, config.sink_tokens, transforms);
  for (const kv::LayerCodecs& codecs : config.PerLayer(model.layers)) {
    for (const auto& [role, codec] :
         {std::pair(kv::Role::kKey, codecs.k), std::pair(kv::Role::kValue, codecs.v)}) {
      KVP_ASSIGN_OR_RETURN(const TokenCodec written, WrittenTokenByToken(codec));
      Part part{.role = role, .codec = written.codec, .smooth = written.smooth};
      if (part.smooth) part.sums.resize(size_t(model.kv_heads) * model.head_dim);
      result.parts_.push_back(std::move(part));
    }
  }
  return result;
}

void WriteCodec::Apply(int layer, int64_t first_position, std::span<float> qkv) {
  const int head_dim = model_.head_dim;
  const size_t stride = size_t(model_.heads + 2 * model_.kv_heads) * head_dim;
  Rows rows{.stride = stride, .count = static_cast<int>(qkv.size() / stride)};
  rows.exact = static_cast<int>(std::clamp<int64_t>(sink_tokens_ - first_position, 0, rows.count));
  std::span<const kv::StaticRange> ranges[kRoles];
  if (transforms_ != nullptr) {
    ranges[0] = transforms_->KeyRanges(layer);
    ranges[1] = transforms_->ValueRanges(layer);
  }
  for (int role = 0; role < kRoles; ++role) {
    Part& part = parts_[layer * kRoles + role];
    for (int head = 0; head < model_.kv_heads; ++head) {
      rows.first = qkv.data() + size_t(model_.heads + role * model_.kv_heads + head) * head_dim;
      const kv::StaticRange range = ranges[role].empty() ? kv::StaticRange{} : ranges[role][head];
      ApplyTo(part, head, range, first_position + rows.count, rows);
    }
  }
}

// Tokens do not share anything in these codecs, so a tile is a way to encode 64 of them at once.
void WriteCodec::ApplyTo(Part& part, int head, kv::StaticRange range, int64_t tokens_so_far,
                         Rows rows) {
  const int head_dim = model_.head_dim;
  std::vector<float> mean(head_dim);
  if (part.smooth) {
    double* sums = part.sums.data() + size_t(head) * head_dim;
    for (int c = 0; c < head_dim; ++c) {
      for (int row = 0; row < rows.count; ++row) sums[c] += rows.first[row * rows.stride + c];
      const double exact_mean = sums[c] / static_cast<double>(tokens_so_far);
      mean[c] = F16ToFloat(FloatToF16(static_cast<float>(exact_mean)));  // as it would be stored
    }
  }
  std::vector<float> tile(size_t(kv::kBlockTokens) * head_dim);
  std::vector<std::byte> encoded(kv::TileBytes(part.codec, part.role, head_dim));
  for (int first = rows.exact; first < rows.count; first += kv::kBlockTokens) {
    const int count = std::min(kv::kBlockTokens, rows.count - first);
    std::fill(tile.begin(), tile.end(), 0.0f);
    for (int i = 0; i < count; ++i) {
      const float* from = rows.first + (first + i) * rows.stride;
      for (int c = 0; c < head_dim; ++c) tile[i * head_dim + c] = from[c] - mean[c];
    }
    kv::EncodeTile(part.codec, part.role, head_dim, range, tile.data(), encoded.data());
    kv::DecodeTile(part.codec, part.role, head_dim, range, encoded.data(), tile.data());
    for (int i = 0; i < count; ++i) {
      float* to = rows.first + (first + i) * rows.stride;
      for (int c = 0; c < head_dim; ++c) to[c] = tile[i * head_dim + c] + mean[c];
    }
  }
}

}  // namespace kvpareto
