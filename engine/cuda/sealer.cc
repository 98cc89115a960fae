#include "engine/cuda/sealer.h"

#include <tuple>

#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/cuda/by_kind.h"

namespace kvpareto::cuda {

void Sealer::AddTile(const SealItem& item, kv::Role role) {
  const kv::LayerLayout& from = *item.source_layout;
  const kv::LayerLayout& to = *item.destination_layout;
  const bool key = role == kv::Role::kKey;
  const std::span<const kv::StaticRange> ranges = key ? item.k_ranges : item.v_ranges;
  Tile tile{.open_codec = key ? from.k_codec : from.v_codec,
            .codec = key ? to.k_codec : to.v_codec,
            .role = role};
  tile.item = {.from = item.source + (key ? from.k_offset : from.v_offset),
               .to = item.destination + (key ? to.k_offset : to.v_offset),
               .from_stride = static_cast<uint32_t>(key ? from.k_tile_bytes : from.v_tile_bytes),
               .to_stride = static_cast<uint32_t>(key ? to.k_tile_bytes : to.v_tile_bytes),
               .first_range = ranges.empty() ? -1 : static_cast<int>(ranges_.size())};
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  tiles_.push_back(tile);
}

void Sealer::Run(const SealArgs& args) {
  tiles_.clear();
  ranges_.clear();
  for (const SealItem& item : args.items) {
    KVP_CHECK(item.source_layout->tile_tokens == kv::kBlockTokens &&
              item.destination_layout->tile_tokens == kv::kBlockTokens);
    AddTile(item, kv::Role::kKey);
    AddTile(item, kv::Role::kValue);
  }
  const kv::StaticRange* ranges = device_.Upload(std::span<const kv::StaticRange>(ranges_));
  ForEachKind(
      tiles_, [](const Tile& tile) { return std::tuple(tile.codec, tile.open_codec, tile.role); },
      [&](const Tile& like, const std::vector<TileItem>& items) {
        if (!CanSeal(like.codec)) {
          for (const TileItem& item : items) SealOnHost(like, item, args.kv_heads, args.head_dim);
          return;
        }
        LaunchSeal({.codec = like.codec,
                    .open_codec = like.open_codec,
                    .role = like.role,
                    .kv_heads = args.kv_heads,
                    .head_dim = args.head_dim,
                    .num_items = static_cast<int>(items.size()),
                    .items = device_.Upload(std::span<const TileItem>(items)),
                    .ranges = ranges},
                   device_.queue());
      });
}

void Sealer::SealOnHost(const Tile& like, const TileItem& item, int kv_heads, int head_dim) {
  const int elements = kv::kBlockTokens * head_dim;
  const bool wide = like.open_codec == kv::CodecId::kF32;
  std::vector<std::byte> open(kv::TileBytes(like.open_codec, like.role, head_dim));
  std::vector<std::byte> encoded(kv::TileBytes(like.codec, like.role, head_dim));
  std::vector<float> values(elements);
  for (int head = 0; head < kv_heads; ++head) {
    device_.CopyToHost(open.data(), item.from + size_t(head) * item.from_stride, open.size());
    kv::DecodeTile(wide ? kv::CodecId::kF32 : kv::CodecId::kBf16, like.role, head_dim, {},
                   open.data(), values.data());
    const kv::StaticRange range =
        item.first_range < 0 ? kv::StaticRange{} : ranges_[item.first_range + head];
    kv::EncodeTile(like.codec, like.role, head_dim, range, values.data(), encoded.data());
    device_.CopyFromHost(item.to + size_t(head) * item.to_stride, encoded.data(), encoded.size());
  }
}

}  // namespace kvpareto::cuda
